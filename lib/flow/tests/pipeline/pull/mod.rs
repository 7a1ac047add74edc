//! Pulling calls: providers that answer as their interfaces do, over the port for HTTP.

mod counts;
mod law;
mod place;
mod providers;
mod refusals;
