//! `columba check client`: the checker listens, starts a client again and again, and judges what it does.

use columba_check::script::guests::{self, Commands, STORIES, Story};
use columba_check::script::runner::Played;
use columba_proto::Version;

use super::{Format, Progress};
use crate::exit::{Exit, Failure};

/// What `columba check client` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct ClientArgs {
    /// Shell line that publishes {payload} to {topic} at {qos} on {host} {port} and stays until it is acknowledged; {version} and {id} are filled in as well
    #[arg(long, value_name = "COMMAND")]
    publisher: Option<String>,
    /// Shell line that subscribes to {topic} at {qos} as {id} with a lasting session, prints the payloads and stays
    #[arg(long, value_name = "COMMAND")]
    subscriber: Option<String>,
    /// How the client writes the versions 3.1, 3.1.1 and 5 on its command line; an empty one is not tried
    #[arg(long, value_name = "LIST", default_value = "mqttv31,mqttv311,mqttv5")]
    versions: String,
    /// Only stories whose title or clause holds this (repeatable)
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// What the standard only recommends counts as well
    #[arg(long)]
    strict: bool,
    /// Print every packet of every story, not only of those that fail
    #[arg(long, short = 'v')]
    verbose: bool,
}

/// The verdict as text.
pub(super) fn run(args: ClientArgs) -> Result<(String, Exit), Failure> {
    if args.publisher.is_none() && args.subscriber.is_none() {
        let example =
            "columba check client --publisher 'mosquitto_pub -h {host} -p {port} -V {version} -t {topic} -q {qos} -m {payload}'";
        return Err(Failure::usage("no client was given: --publisher, --subscriber or both").try_this(example));
    }
    let mut versions = args.versions.split(',').map(str::to_owned);
    let versions: [String; 3] = std::array::from_fn(|_| versions.next().unwrap_or_default());
    let start = Commands { publisher: args.publisher, subscriber: args.subscriber, versions };
    let wanted = |story: &&Story| {
        let named =
            |text: &String| story.title.contains(&**text) || story.clauses.iter().any(|clause| clause.id.contains(&**text));
        args.only.is_empty() || args.only.iter().any(named)
    };
    let cases: Vec<(Version, &'static Story)> = Version::ALL
        .into_iter()
        .flat_map(|version| {
            STORIES
                .iter()
                .filter(wanted)
                .filter(move |story| story.versions.contains(&version))
                .map(move |story| (version, story))
        })
        .collect();
    if cases.is_empty() {
        return Err(Failure::usage("no story is like that"));
    }
    let mut progress = Progress::new(cases.len());
    let mut played: Vec<Played> = Vec::new();
    for (number, (version, story)) in cases.into_iter().enumerate() {
        let one = guests::play(story, version, &start, number);
        progress.ended(&one);
        played.push(one);
    }
    progress.finish();
    Ok(super::verdict(&played, args.format, args.strict, args.verbose))
}
