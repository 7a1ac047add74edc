//! Wiring: from the environment to a running webhook function.

use std::sync::Arc;

use aws_types::SdkConfig;
use jiff::Timestamp;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::{Error, LambdaEvent, lambda_runtime, service_fn};
use switchboard_flow::{Values, config};
use switchboard_providers::{Provider, Sources};
use switchboard_queue::{Addresses, SqsQueue};
use switchboard_shell::aws;
use switchboard_shell::environment::{invocation, parsed, required, start_logs};
use switchboard_shell::gateway::{Event, HttpRequest, Response};
use switchboard_shell::hook::Hook;
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_store::Store;
use tracing::Instrument as _;

/// Where a function finds what it acts on.
pub struct Places {
    /// The table of calls.
    pub table: String,
    /// The address of the queue of `enrich`.
    pub queue: String,
    /// The path above `sources`.
    pub parameters: String,
    /// After how many days what it writes is deleted.
    pub retention_days: u32,
}

/// A webhook function: the hook, and the sources that may call it.
pub struct Function {
    hook: Hook,
    sources: Cached<Sources>,
}

/// Runs a provider's webhook until the environment ends.
pub async fn run(provider: &'static dyn Provider) -> Result<(), Error> {
    let function = &from_environment(provider).await?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| async move {
        let span = invocation(&event.context);
        Ok::<_, Error>(function.answer(event.payload).instrument(span).await)
    }))
    .await
}

/// Starts a function with what the template sets.
async fn from_environment(provider: &'static dyn Provider) -> Result<Function, Error> {
    start_logs(provider.name())?;
    let places = Places {
        table: required("CALLS_TABLE")?,
        queue: required("ENRICH_QUEUE_URL")?,
        parameters: required("PARAMETER_PREFIX")?,
        retention_days: parsed("RETENTION_DAYS", 400)?,
    };
    Function::start(provider, &aws::config()?, places).await
}

impl Function {
    /// Puts a function together, and does before the first event, at full CPU, what the first event
    /// would wait for: reads the sources (a function that cannot read them must not start) and opens
    /// the connections. A client is made while those before it wait for the network.
    pub async fn start(
        provider: &'static dyn Provider,
        aws: &SdkConfig,
        places: Places,
    ) -> Result<Self, Error> {
        let sources = Cached::new(
            Parameters::new(aws::ssm(aws)),
            places.parameters,
            vec![format!("sources/{}", provider.name())],
            move |values| sources(values, provider),
        );
        let store = async {
            let client = aws::dynamodb(aws);
            let store = Store::dynamodb(&client, places.table, places.retention_days);
            aws::briefly(store.connect()).await;
            store
        };
        let queue = async {
            let queue = SqsQueue::new(
                aws::sqs(aws),
                Addresses { enrich: Some(places.queue), ..Addresses::default() },
            );
            aws::briefly(queue.connect()).await;
            queue
        };
        let (known, store, queue) = tokio::join!(sources.get(), store, queue);
        known?;
        Ok(Self { hook: Hook { provider, store, queue: Arc::new(queue) }, sources })
    }

    /// Answers one event. A secret that opens nothing may be newer than what we know: then the
    /// sources are read again, and the request is looked at once more.
    pub async fn answer(&self, event: Event) -> ApiGatewayV2httpResponse {
        let Some(request) = HttpRequest::from(event).into_webhook(Timestamp::now()) else {
            return Response::error(400, "the body is declared as Base64 and is not").into_event();
        };
        let Ok(sources) = self.sources.get().await else { return not_configured() };
        if let Ok(reply) = self.hook.first(&request, &sources).await {
            return reply.into_event();
        }
        match self.sources.get_again().await {
            Ok(newer) => self.hook.handle(&request, &newer).await.into_event(),
            Err(_) => not_configured(),
        }
    }
}

fn not_configured() -> ApiGatewayV2httpResponse {
    Response::error(503, "service unavailable: the configuration cannot be read, send it again")
        .into_event()
}

fn sources(values: &Values, provider: &dyn Provider) -> Sources {
    let folder = format!("sources/{}", provider.name());
    let read = config::read(values, &folder, |name, json| config::source(provider, name, json));
    read.into_iter().collect()
}
