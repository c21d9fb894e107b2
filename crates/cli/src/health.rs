//! `columba health`: whether a broker is well, for probes and for people.

use clap::Args;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::http::HttpArgs;

/// What `columba health` takes.
#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    http: HttpArgs,
    /// Ask only whether it lives, not whether it takes everything
    #[arg(long)]
    live: bool,
}

/// One line, and one for each reason.
pub(crate) fn run(args: &HealthArgs) -> Result<(String, Exit), Failure> {
    let answer = args.http.get(if args.live { "/healthz" } else { "/readyz" })?;
    let told = answer.json()?;
    let status = told["status"].as_str().unwrap_or("not well");
    if answer.status == 200 {
        return Ok((status.to_owned(), Exit::Done));
    }
    let mut failure = Failure::new(Exit::Other, format!("the broker is {status}"));
    for reason in told["reasons"].as_array().into_iter().flatten() {
        let text = |name| reason[name].as_str().unwrap_or_default();
        failure = failure.note(format!("{}: {}", text("reason"), text("detail")));
    }
    if let Value::String(detail) = &told["detail"] {
        failure = failure.note(detail);
    }
    Err(failure)
}
