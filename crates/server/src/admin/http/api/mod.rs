//! `/api/v1`: what the broker has, and a few things that can be done to it. Described in `openapi.json`, which a test holds against the table below.

mod access;
mod clients;
mod messages;
mod overview;
mod paging;
mod stream;
mod subscriptions;
mod users;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderName, header},
    routing::{MethodRouter, delete, get, post, put},
};

use self::access::Viewer;
pub(in crate::admin) use self::{
    access::Keys,
    stream::{Ticks, tick},
};
use crate::admin::outside::{Live, Outside};

use super::problem::Problem;

const OPENAPI: &str = include_str!("openapi.json");

type Route = (&'static str, &'static [&'static str], MethodRouter<Arc<Outside>>);

/// Every path below `/api/v1` with its methods.
fn routes() -> Vec<Route> {
    vec![
        (
            "/openapi.json",
            &["get"],
            get(async |_: Viewer| ([(header::CONTENT_TYPE, "application/json")] as [(HeaderName, &str); 1], OPENAPI)),
        ),
        ("/overview", &["get"], get(overview::show)),
        ("/clients", &["get"], get(clients::list_clients)),
        ("/clients/{id}", &["get", "delete"], get(clients::show).delete(clients::kick)),
        ("/clients/{id}/subscriptions", &["get"], get(clients::subscriptions)),
        ("/sessions", &["get"], get(clients::list_sessions)),
        ("/sessions/{id}", &["delete"], delete(clients::end_session)),
        ("/sessions/{id}/queue", &["delete"], delete(clients::purge)),
        ("/subscriptions", &["get"], get(subscriptions::list)),
        ("/retained", &["get"], get(messages::list_retained)),
        ("/retained/{*topic}", &["get", "delete"], get(messages::show_retained).delete(messages::clear_retained)),
        ("/listeners", &["get"], get(overview::listeners)),
        ("/config", &["get"], get(overview::config)),
        ("/users", &["get", "post"], get(users::list).post(users::add)),
        ("/users/{name}", &["put", "delete"], put(users::change).delete(users::remove)),
        ("/stream", &["get"], get(stream::show)),
        ("/reload", &["post"], post(overview::reload)),
        ("/publish", &["post"], post(messages::publish)),
    ]
}

pub(super) fn router() -> Router<Arc<Outside>> {
    routes().into_iter().fold(Router::new(), |router, (path, _, methods)| router.route(&format!("/api/v1{path}"), methods))
}

/// What was done is not on disk, and will not be.
const NOT_KEPT: &str = "the journal has failed: it is done, and may be undone by the next start";

/// The broker, once it is one.
fn live(outside: &Outside) -> Result<&Live, Problem> {
    outside.alive().ok_or_else(|| Problem::unavailable("the broker is bringing back what was stored"))
}

impl From<crate::admin::shards::NoAnswer> for Problem {
    fn from(error: crate::admin::shards::NoAnswer) -> Self {
        Self::unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn described() -> Value {
        serde_json::from_str(OPENAPI).unwrap()
    }

    #[test]
    fn the_description_has_every_path_and_method_and_no_other() {
        let described = described();
        let paths = described["paths"].as_object().unwrap();
        let methods = |(path, item): (&String, &Value)| {
            let known = ["get", "post", "put", "delete", "patch"];
            let path = path.clone();
            let item: Vec<String> = item.as_object().unwrap().keys().filter(|key| known.contains(&&***key)).cloned().collect();
            item.into_iter().map(move |method| format!("{method} {path}"))
        };
        let said: BTreeSet<String> = paths.iter().flat_map(methods).collect();

        let routed: BTreeSet<String> = routes()
            .iter()
            .flat_map(|(path, methods, _)| methods.iter().map(move |method| format!("{method} {}", path.replace("{*", "{"))))
            .collect();
        assert_eq!(said, routed);
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        fn walk(value: &Value, root: &Value, seen: &mut usize) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let target = root.pointer(reference.trim_start_matches('#'));
                        assert!(target.is_some(), "{reference} leads nowhere");
                        *seen += 1;
                    }
                    fields.values().for_each(|value| walk(value, root, seen));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, root, seen)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let described = described();
        let mut seen = 0;

        walk(&described, &described, &mut seen);

        assert!(seen > 10);
    }

    #[test]
    fn every_operation_says_what_it_answers_and_who_may_ask() {
        let described = described();
        for (path, item) in described["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                let name = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{name}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|code| code.starts_with('2')), "{name}");
                assert!(responses.contains_key("401"), "{name}");
            }
        }
    }
}
