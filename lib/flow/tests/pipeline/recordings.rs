//! Copies of recordings: from real servers that stand in for phone systems, into one that stands in for
//! S3 and checks what is signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use switchboard_domain::copies::CopyState;
use switchboard_domain::{DeliveryState, RecordingCopy, Work};
use switchboard_queue::Job;

use crate::bucket::{Bucket, hex};
use crate::effects::{Fault, Which};
use crate::samples::{Webhook, asterisk, call_status, twilio};
use crate::servers::{Answer, Received, serve, status, with};
use crate::world::{World, both, merged, minutes, seconds, twilio_source};

const AUDIO: &str = "ID3 fake audio of a fake call";
const ACCOUNT: &str = "AC00000000000000000000000000000001";
const LINK_KEY: &str = "fake-key-of-links-0000000000000001";

/// A phone system with recordings and configurable responses.
#[derive(Clone)]
struct Phones {
    base: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Phones {
    async fn start(
        world: &World,
        answer: impl Fn(&Received, usize) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let inner = received.clone();
        let base = serve(world.clock.clone(), move |request| {
            let (inner, answer) = (inner.clone(), answer.clone());
            async move {
                let mut seen = inner.lock().unwrap();
                seen.push(request.clone());
                answer(&request, seen.len())
            }
        })
        .await;
        Self { base, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn audio() -> Answer {
    Answer::Status(200, vec![("content-type", "audio/mpeg".into())], AUDIO.into())
}

/// A world with a bucket, links, and a CRM that takes updates.
async fn world() -> (World, Bucket, crate::servers::Crm) {
    let mut world = World::new();
    let bucket = Bucket::start(&world.clock, &world.effects).await;
    world.bucket = Some(bucket.clone());
    world.read();
    let links = json!({"url": "https://api.example.com", "keys": [LINK_KEY], "days": 30});
    world.configure("recordings/links", links);
    let crm = world.crm("crm", "canonical", both()).await;
    (world, bucket, crm)
}

/// Twilio calls are recorded by `phones`.
fn record_at(world: &mut World, phones: &Phones, more: Value) {
    let recordings = merged(json!({"copy": true}), more);
    let source = json!({"api_url": phones.base, "recordings": recordings});
    world.configure("sources/twilio/twilio", twilio_source(source));
}

/// A world whose Twilio calls are recorded by a phone system that has the audio at once.
async fn recorded_world(more: Value) -> (World, Bucket, crate::servers::Crm, Phones) {
    let (mut world, bucket, crm) = world().await;
    let phones = Phones::start(&world, |_, _| audio()).await;
    record_at(&mut world, &phones, more);
    (world, bucket, crm, phones)
}

/// The callback of a recording at a server.
fn recorded(base: &str) -> Webhook {
    let url = format!("{base}/2010-04-01/Accounts/{ACCOUNT}/Recordings/RE1");
    twilio(
        "/recording-status-callback",
        &[
            ("CallSid", "CA1"),
            ("AccountSid", ACCOUNT),
            ("RecordingSid", "RE1"),
            ("RecordingUrl", &url),
            ("RecordingStatus", "completed"),
            ("RecordingDuration", "58"),
        ],
    )
}

async fn call_with_recording(world: &mut World, phones: &Phones) {
    world.take(&call_status("CA1", "completed")).await;
    world.take(&recorded(&phones.base)).await;
}

async fn settled_with_recording(world: &mut World, phones: &Phones) {
    call_with_recording(world, phones).await;
    world.settle(minutes(30)).await;
}

/// Takes a call with a recording to where its copy is due; gives the job that took it there.
async fn enriched(world: &mut World, phones: &Phones) -> Job {
    call_with_recording(world, phones).await;
    world.clock.pass(seconds(3));
    let enrich = world.take_jobs().remove(0);
    world.work(&enrich).await.unwrap();
    enrich
}

fn copy(world: &World) -> RecordingCopy {
    let call = world.call();
    assert_eq!(call.copies.len(), 1);
    call.copies.values().next().unwrap().clone()
}

fn told_address(received: &Received) -> String {
    received.json()["data"]["recordings"][0]["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_recording_of_twilios_is_copied_when_it_is_there_and_the_crm_is_told_our_link_once() {
    let (mut world, bucket, crm) = world().await;
    let elsewhere = Phones::start(&world, |request, _| {
        let knows_us = !request.header("authorization").is_empty();
        if knows_us { status(400) } else { audio() }
    })
    .await;
    let to = format!("{}/signed?token=fake-token", elsewhere.base);
    let phones = Phones::start(&world, move |request, n| {
        // As `AC…:fake-twilio-auth-token`, in Base64.
        let pair = request.header("authorization").strip_prefix("Basic ").unwrap_or_default();
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.decode(pair).unwrap();
        let expected = format!("{ACCOUNT}:{}", crate::samples::TOKEN);
        let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Recordings/RE1.mp3");
        match (pair == expected.as_bytes(), request.target == path, n) {
            (false, _, _) => status(401),
            (_, false, _) => status(400),
            (_, _, 1..=3) => status(404),
            _ => with(307, "location", to.clone()),
        }
    })
    .await;
    record_at(&mut world, &phones, json!({}));
    settled_with_recording(&mut world, &phones).await;

    assert!(!world.owes().await);
    let copy = copy(&world);
    assert_eq!((copy.state, copy.failures, copy.problem), (CopyState::Copied, 3, None));
    let object = copy.object.unwrap();
    assert_eq!((object.bytes, object.media_type.as_str()), (AUDIO.len() as u64, "audio/mpeg"));
    assert_eq!(object.sha256, hex(&Sha256::digest(AUDIO)));
    let kept = ("audio/mpeg".to_owned(), AUDIO.as_bytes().to_vec());
    let name = format!("/fake-bucket/{}", object.key);
    assert_eq!(bucket.objects(), BTreeMap::from([(name.clone(), kept)]));
    let correlation = world.call().key.correlation_id();
    assert!(name.starts_with(&format!("/fake-bucket/recordings/{correlation}/")));
    assert!(!name.contains("CA1") && !name.contains("RE1"));
    // Requested at growing waits, and credentials were sent to no other host.
    let at: Vec<i64> = phones.received().iter().map(|one| one.at.as_second()).collect();
    assert_eq!([at[1] - at[0], at[2] - at[1], at[3] - at[2]], [10, 30, 120]);
    assert_eq!(elsewhere.received().len(), 1);

    // The CRM received the call at once, and a copy is no update.
    assert_eq!(crm.received().len(), 1);
    let link = told_address(&crm.received()[0]);
    assert_eq!(Some(link.as_str()), copy.link.as_ref().map(|link| link.expose()));
    let start = "https://api.example.com/calls/twilio/twilio/CA1/recordings/RE1?until=";
    assert!(link.starts_with(start), "{link}");
    // Thirty days from the end of the day of the call, 2026-02-20.
    assert!(link.contains("until=1774224000&signature="), "{link}");

    // The provider repeats it in other words: nothing is copied or delivered again.
    world.settled(&recorded(&phones.base), minutes(30)).await;
    assert_eq!((bucket.puts(), crm.received().len()), (1, 1));
}

#[tokio::test]
async fn a_recording_that_comes_late_is_one_update_with_the_link() {
    let (mut world, bucket, crm, phones) = recorded_world(json!({"format": "wav"})).await;
    world.settled(&call_status("CA1", "completed"), minutes(5)).await;
    assert_eq!((crm.received().len(), bucket.puts()), (1, 0));
    world.settled(&recorded(&phones.base), minutes(5)).await;
    assert_eq!((crm.received().len(), bucket.puts()), (2, 1));
    assert_eq!(crm.received()[1].json()["type"], "call.updated");
    assert!(told_address(&crm.received()[1]).starts_with("https://api.example.com/"));
    assert!(phones.received()[0].target.ends_with("/RE1.wav"));
}

#[tokio::test]
async fn whoever_waits_for_a_summary_has_the_recording_copied_meanwhile() {
    let (mut world, bucket, crm) = world().await;
    let phones = Phones::start(&world, |_, _| audio()).await;
    let elevenlabs = world.elevenlabs().await;
    let ready_at = world.now().checked_add(minutes(8)).unwrap();
    elevenlabs.holds(crate::servers::Talk::on("CA1", ready_at));
    let conversations = json!({"source": "elevenlabs"});
    let source = json!({"recordings": {"copy": true}, "conversations": conversations});
    world.configure("sources/twilio/twilio", twilio_source(source));
    call_with_recording(&mut world, &phones).await;
    world.pass(minutes(1)).await;
    assert_eq!((bucket.puts(), crm.received().len()), (1, 0));
    world.settle(minutes(30)).await;
    assert_eq!((bucket.puts(), crm.received().len()), (1, 1));
    assert!(told_address(&crm.received()[0]).starts_with("https://api.example.com/"));
}

#[tokio::test]
async fn a_smartflo_address_whose_token_has_expired_is_given_up_and_says_so() {
    let (mut world, bucket, crm) = world().await;
    let phones = Phones::start(&world, |request, _| {
        assert!(request.target.contains("token=fake-expired"));
        status(403)
    })
    .await;
    let secret = "fake-smartflo-secret";
    world.configure(
        "sources/smartflo/smartflo",
        json!({"secrets": [secret], "recordings": {"copy": true}}),
    );
    let url = format!("{}/file/recording?callId=1&token=fake-expired", phones.base);
    let body = json!({
        "uuid": "sf-1", "call_id": "1.1", "call_status": "answered", "direction": "inbound",
        "caller_id_number": "2025550100", "call_to_number": "61491570156",
        "start_stamp": "2026-02-20 14:30:00", "end_stamp": "2026-02-20 14:31:00",
        "duration": "60", "billsec": "55", "recording_url": url,
    });
    world
        .take(&Webhook {
            provider: "smartflo",
            target: "/api/v1/smartflo/webhook".into(),
            headers: vec![
                ("Content-Type".into(), "application/json".into()),
                ("X-Webhook-Secret".into(), secret.into()),
            ],
            body: body.to_string().into_bytes(),
        })
        .await;
    world.settle(minutes(30)).await;
    let copy = copy(&world);
    assert_eq!((copy.state, copy.failures, copy.due_at), (CopyState::Failed, 1, None));
    let problem = copy.problem.unwrap();
    assert_eq!(problem, "responded 403: the address has expired, or opens nothing");
    assert_eq!((bucket.puts(), phones.received().len(), crm.received().len()), (0, 1, 1));
    let said = world.log.lines().concat();
    assert!(
        said.contains("recording copy failed permanently") && said.contains("recordings_failed")
    );
    assert!(!said.contains("fake-expired"));
}

#[tokio::test]
async fn the_audio_of_a_conversation_is_copied_by_its_id() {
    let (mut world, bucket, crm) = world().await;
    let phones = Phones::start(&world, |request, n| {
        match (request.header("xi-api-key"), request.target.as_str(), n) {
            ("fake-elevenlabs-api-key", "/v1/convai/conversations/conv_w/audio", 1) => status(404),
            ("fake-elevenlabs-api-key", "/v1/convai/conversations/conv_w/audio", _) => audio(),
            _ => status(401),
        }
    })
    .await;
    let source = json!({
        "secrets": ["wsec_fake-elevenlabs-secret"], "api_key": "fake-elevenlabs-api-key",
        "api_url": phones.base, "recordings": {"copy": true}, "calls": "none",
    });
    world.configure("sources/elevenlabs/elevenlabs", source);
    let data = json!({
        "agent_id": "agent_sample", "conversation_id": "conv_w", "status": "done", "has_audio": true,
        "transcript": [{"role": "agent", "message": "Hello."}],
        "metadata": {"start_time_unix_secs": 1_771_578_009, "call_duration_secs": 60},
        "analysis": {"transcript_summary": "A fake summary."},
    });
    world.settled(&crate::samples::conversation(data, world.now()), minutes(30)).await;
    assert_eq!(copy(&world).state, CopyState::Copied);
    assert_eq!((bucket.objects().len(), crm.received().len()), (1, 1));
    let recording = &crm.received()[0].json()["data"]["recordings"][0];
    assert_eq!(
        (&recording["id"], &recording["duration_seconds"]),
        (&json!("conversation"), &json!(60))
    );
    assert!(
        recording["url"].as_str().unwrap().starts_with("https://api.example.com/calls/elevenlabs/")
    );
}

/// A call of the generic intake with a recording at a server, and what became of its copy.
async fn of_intake(
    settings: Value,
    path: &str,
    answer: impl Fn(&Received, usize) -> Answer + Clone + Send + Sync + 'static,
) -> (World, Bucket, Phones) {
    let (mut world, bucket, _) = world().await;
    let phones = Phones::start(&world, answer).await;
    let recordings = merged(json!({"copy": true}), settings);
    let source = json!({"secrets": ["fake-intake-secret"], "recordings": recordings});
    world.configure("sources/intake/intake", source);
    let recording = json!({"recordingUrl": format!("{}{path}", phones.base)});
    world.settled(&asterisk("ast-1", recording), SignedDuration::from_hours(72)).await;
    (world, bucket, phones)
}

#[tokio::test]
async fn the_limit_of_a_source_is_the_largest_that_is_copied() {
    const LIMIT: usize = 1024 * 1024;
    for (length, copied) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false)] {
        for is_announced in [true, false] {
            let (world, bucket, _) =
                of_intake(json!({"largest_megabytes": 1}), "/a.wav", move |_, _| {
                    let announced = if is_announced {
                        format!("content-length: {length}\r\n")
                    } else {
                        String::new()
                    };
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\n{announced}");
                    let mut bytes = format!("{head}connection: close\r\n\r\n").into_bytes();
                    bytes.resize(bytes.len() + length, b'a');
                    Answer::Bytes(bytes)
                })
                .await;
            let copy = copy(&world);
            let context = format!("{length}, announced: {is_announced}");
            assert_eq!(bucket.objects().len(), usize::from(copied), "{context}");
            match copied {
                true => assert_eq!(copy.object.unwrap().bytes, length as u64, "{context}"),
                false => assert_eq!(
                    copy.problem.as_deref(),
                    Some("larger than 1 MB: raise recordings.largest_megabytes"),
                    "{context}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_audio_is_not_kept_and_what_is_cut_is_asked_for_again() {
    let typed = |said: &'static str, body: &'static str| {
        move |_: &Received, _: usize| {
            Answer::Status(200, vec![("content-type", said.into())], body.into())
        }
    };
    for (said, body, media_type) in [
        ("text/html", "<html>sign in</html>", None),
        ("application/json", "{}", None),
        ("application/octet-stream", "<html>sign in</html>", None),
        ("application/octet-stream", "OggS fake", Some("audio/ogg")),
        ("audio/x-wav", "whatever", Some("audio/wav")),
    ] {
        let (world, bucket, phones) = of_intake(json!({}), "/a", typed(said, body)).await;
        let copy = copy(&world);
        assert_eq!(phones.received().len(), 1, "{said}");
        assert_eq!(copy.object.map(|object| object.media_type).as_deref(), media_type, "{said}");
        assert_eq!(bucket.objects().len(), usize::from(media_type.is_some()));
        if media_type.is_none() {
            assert_eq!(copy.problem.as_deref(), Some("the response is no audio"));
        }
    }
    for (cut, problem) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: 99\r\n\r\nRIFF",
            "broke off",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: 0\r\n\r\n",
            "answered nothing",
        ),
        ("", "broke off"),
        (
            "HTTP/1.1 503 X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            "responded 503: in trouble",
        ),
    ] {
        let (world, bucket, phones) = of_intake(json!({}), "/a", move |_, n| match n {
            1 => Answer::Bytes(cut.as_bytes().to_vec()),
            _ => audio(),
        })
        .await;
        assert_eq!((copy(&world).state, bucket.puts()), (CopyState::Copied, 1), "{problem}");
        assert_eq!(phones.received().len(), 2);
        assert!(world.log.lines().concat().contains(problem), "{problem}");
    }
}

#[tokio::test]
async fn what_never_comes_is_given_up_after_a_day_and_a_half() {
    let (world, _, phones) = of_intake(json!({}), "/a", |_, _| status(404)).await;
    assert_eq!((copy(&world).state, phones.received().len()), (CopyState::Failed, 9));
    assert!(!world.owes().await);
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_not_asked() {
    let settings = json!({"hosts": ["pbx.example.com"]});
    let (world, _, phones) = of_intake(settings, "/a", |_, _| audio()).await;
    assert_eq!((copy(&world).state, phones.received().len()), (CopyState::Failed, 0));
    assert_eq!(copy(&world).problem.as_deref(), Some("its host is not one of recordings.hosts"));
}

#[tokio::test]
async fn a_bucket_that_refuses_is_tried_again() {
    let (mut world, bucket, _, phones) = recorded_world(json!({})).await;
    bucket.refuses(2);
    settled_with_recording(&mut world, &phones).await;
    assert_eq!((copy(&world).state, bucket.puts()), (CopyState::Copied, 3));
    assert!(world.log.lines().concat().contains("the bucket responded 403"));
}

#[tokio::test]
async fn without_links_crms_are_told_the_providers_address_and_without_a_bucket_nothing_is_copied()
{
    let (mut world, bucket, crm, phones) = recorded_world(json!({})).await;
    world.unconfigure("recordings/links");
    settled_with_recording(&mut world, &phones).await;
    assert_eq!(bucket.puts(), 1);
    assert!(told_address(&crm.received()[0]).starts_with(&phones.base));

    let (mut world, crm) = World::with_crm(json!({})).await;
    record_at(&mut world, &phones, json!({}));
    settled_with_recording(&mut world, &phones).await;
    assert!(world.call().copies.is_empty() && !world.owes().await);
    assert!(told_address(&crm.received()[0]).starts_with(&phones.base));
    assert!(world.log.lines().concat().contains("the stack has no bucket"));
}

#[tokio::test]
async fn a_source_that_does_not_say_so_has_nothing_copied() {
    let (mut world, bucket, crm, phones) = recorded_world(json!({"copy": false})).await;
    settled_with_recording(&mut world, &phones).await;
    assert!(world.call().copies.is_empty());
    assert_eq!((bucket.puts(), phones.received().len()), (0, 0));
    assert!(told_address(&crm.received()[0]).starts_with(&phones.base));
}

#[tokio::test]
async fn two_workers_at_once_copy_once() {
    let (mut world, bucket, _, phones) = recorded_world(json!({})).await;
    enriched(&mut world, &phones).await;
    let jobs = world.take_jobs();
    let job = jobs.iter().find(|job| matches!(job, Job::Recordings { .. })).unwrap();
    world.work_twice(job).await;
    world.work(job).await.unwrap();
    assert_eq!((phones.received().len(), bucket.puts()), (1, 1));
}

#[tokio::test]
async fn a_lost_message_is_sent_again_by_the_sweep_to_the_right_worker() {
    let (mut world, bucket, _, phones) = recorded_world(json!({})).await;
    enriched(&mut world, &phones).await;
    assert!(!world.take_jobs().is_empty(), "all of them are lost");
    assert!(world.call().owed.contains_key(&Work::Recordings));
    world.settle(minutes(3)).await;
    assert_eq!(bucket.puts(), 1);
    assert!(!world.owes().await);
    // While it waits to be taken, it is not queued anew each minute.
    let queued = world.effects.log().iter().filter(|effect| **effect == "send").count();
    assert!(queued <= 8, "{queued} messages");
}

#[tokio::test]
async fn a_queue_that_nobody_takes_from_is_not_filled_with_the_same_job() {
    let (mut world, _, _, phones) = recorded_world(json!({})).await;
    let enrich = enriched(&mut world, &phones).await;
    world.take_jobs();
    let mut handed_on = 0;
    for _ in 0..30 {
        world.clock.pass(minutes(1));
        world.work(&enrich).await.unwrap();
        let jobs = world.take_jobs();
        handed_on += jobs.iter().filter(|job| matches!(job, Job::Recordings { .. })).count();
    }
    assert_eq!(handed_on, 2);
}

/// One run with a fault at the k-th effect. `false`: there were fewer effects than that.
async fn run(k: usize, fault: Fault, returns: bool) -> bool {
    let context = format!("{fault:?} at effect {k}, messages return: {returns}");
    let (mut world, bucket, crm) = world().await;
    let phones = Phones::start(&world, |_, n| if n == 1 { status(404) } else { audio() }).await;
    record_at(&mut world, &phones, json!({}));
    world.returns = returns;
    world.effects.arm(Which::Nth(k), fault);
    for webhook in [call_status("CA1", "completed"), recorded(&phones.base)] {
        if world.post(&webhook).await.is_none_or(|reply| reply.status != 200) {
            world.take(&webhook).await;
        }
    }
    world.settle(minutes(90)).await;
    let hit = world.effects.hit();
    world.effects.disarm();

    assert!(!world.owes().await, "{context}: something is still owed");
    let copy = copy(&world);
    assert_eq!(copy.state, CopyState::Copied, "{context}");
    assert_eq!(bucket.objects().len(), 1, "{context}: the same object, however often it was put");
    let again = usize::from(matches!(hit, Some("bucket" | "put call")));
    assert!(bucket.puts() <= 1 + again, "{context}: {} puts", bucket.puts());
    let bodies: Vec<String> =
        crm.entries().values().map(|body| String::from_utf8(body.clone()).unwrap()).collect();
    assert!((1..=2).contains(&bodies.len()), "{context}: {bodies:?}");
    for delivery in world.deliveries().await {
        assert_eq!(delivery.state, DeliveryState::Delivered, "{context}");
    }
    let link = copy.link.unwrap();
    assert!(bodies.iter().any(|body| body.contains(link.expose())), "{context}: {bodies:?}");
    hit.is_some()
}

#[tokio::test]
async fn a_fault_at_any_effect_is_repaired() {
    for returns in [true, false] {
        for fault in [Fault::Crash, Fault::AnswerLost, Fault::Refused] {
            let mut k = 1;
            while run(k, fault, returns).await {
                k += 1;
            }
            // Two webhooks and their jobs, enrich and its jobs, the delivery, two tries of the copy.
            assert!(k > 15, "stopped at {k}");
        }
    }
}
