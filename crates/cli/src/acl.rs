//! `columba acl`: what clients may do.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use columba_broker::access::{Action, Subject};
use columba_proto::{SubscriptionFilter, TopicName};
use columba_server::acl;

use crate::exit::{Exit, Failure};

/// What `columba acl` takes.
#[derive(Args, Debug)]
pub(crate) struct AclArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether somebody may do something, and by which rule; the exit code is 0 or 12
    Check(CheckArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// Name of the user; - for somebody who has not logged in
    #[arg(value_name = "USER")]
    user: String,
    /// What is to be done
    #[arg(value_enum, value_name = "ACTION")]
    action: Step,
    /// Topic; of sub a topic filter
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// ACL file, that of acl.file in the broker's configuration
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Client identifier, for rules that look at it
    #[arg(short = 'i', long, value_name = "ID", default_value = "")]
    client_id: String,
    /// Address that the client comes from, for rules that look at it
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Step {
    /// Publish there
    Pub,
    /// Subscribe to this filter
    Sub,
    /// Receive what is published there
    Recv,
}

pub(crate) fn run(args: AclArgs) -> Result<(String, Exit), Failure> {
    let What::Check(args) = args.what;
    let rules = Arc::new(acl::read(&args.file).map_err(|error| Failure::usage(error.to_string()))?);
    let user = Some(&*args.user).filter(|user| *user != "-");
    let permissions = rules.permissions(Subject { client_id: &args.client_id, user, address: args.address });
    let (action, topic) = match args.action {
        Step::Pub => (Action::Publish, topic(&args.topic)?),
        Step::Recv => (Action::Receive, topic(&args.topic)?),
        Step::Sub => {
            let filter: SubscriptionFilter =
                args.topic.parse().map_err(|error| Failure::usage(format!("\"{}\": {error}", args.topic)))?;
            (Action::Subscribe, filter.filter().as_str().to_owned())
        }
    };
    let (result, rule) = permissions.explain(action, &topic);
    Ok(match (result, rule) {
        (Ok(()), Some(rule)) => (format!("allowed by {rule}"), Exit::Done),
        (Ok(()), None) => ("allowed: no rule speaks of it".to_owned(), Exit::Done),
        (Err(_), Some(rule)) => (format!("denied by {rule}"), Exit::Denied),
        (Err(_), None) => ("denied: no rule allows it".to_owned(), Exit::Denied),
    })
}

fn topic(text: &str) -> Result<String, Failure> {
    match TopicName::new(text) {
        Ok(topic) => Ok(topic.as_str().to_owned()),
        Err(error) => Err(Failure::usage(format!("\"{text}\": {error}"))),
    }
}
