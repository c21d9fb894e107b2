//! The command line: mosquitto's short flags, readable long names, and MQTTX's long names as aliases.

#![expect(clippy::doc_markdown, reason = "the doc comments are the text of --help, which has no backticks")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use columba_client::AuthMethod;
use columba_proto::{QoS, Version};

use crate::acl::AclArgs;
use crate::bench::BenchArgs;
use crate::check::CheckArgs;
use crate::config::ConfigArgs;
use crate::ctl::CtlArgs;
use crate::health::HealthArgs;
use crate::property::PropertyFlag;
use crate::store::StoreArgs;
use crate::token::TokenArgs;
use crate::user::UserArgs;
use crate::{guarantees, manual, reload, serve, values};

/// columba: an MQTT broker and its clients.
#[derive(Debug, Parser)]
#[command(name = "columba", disable_version_flag = true, disable_help_flag = true, disable_help_subcommand = true)]
#[command(subcommand_required = false, arg_required_else_help = false)]
pub(crate) struct Cli {
    /// Print the version
    #[arg(short = 'V', long)]
    pub(crate) version: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker
    #[command(disable_help_flag = true)]
    Serve(Box<serve::Args>),
    /// Have a running broker read its configuration again
    Reload(reload::Args),
    /// Look at a configuration, or take one over from mosquitto
    Config(ConfigArgs),
    /// Say what QoS 0, 1 and 2 mean with a configuration on this disk
    Guarantees(guarantees::Args),
    /// Publish messages
    Pub(Box<PubArgs>),
    /// Subscribe and print what arrives
    Sub(Box<SubArgs>),
    /// Show the nine QoS combinations and the four failures of QoS 2, on a broker of its own
    Demo(DemoArgs),
    /// Measure a broker, and columba beside mosquitto
    Bench(BenchArgs),
    /// Judge any broker by the conversations of the standard
    Check(Box<CheckArgs>),
    /// Ask a broker whether it is well: 0 if it takes everything, 1 with the reasons if not
    Health(HealthArgs),
    /// Look into a running broker by its API: clients, sessions, retained messages; kick, publish
    Ctl(CtlArgs),
    /// Say who may use the API from other machines
    Token(TokenArgs),
    /// Look at a data directory, copy it, back it up, restore it
    Store(StoreArgs),
    /// Say who may log in
    User(UserArgs),
    /// Say what clients may do
    Acl(AclArgs),
    /// Print what makes a shell complete the words of this command line
    Completions(manual::CompletionsArgs),
    /// Write the manual pages of all commands into a directory
    Man(manual::ManArgs),
    /// Print the version
    Version,
}

/// Where to, as whom, with which session: what `pub` and `sub` share.
#[derive(Args, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the command line")]
pub(crate) struct CommonArgs {
    /// Broker, login and topic as mqtt://USER:PASSWORD@HOST:PORT/TOPIC; also mqtts://, ws://HOST/PATH, wss:// and unix:PATH [env: COLUMBA_URL]
    #[arg(short = 'L', long, value_name = "URL", help_heading = "Target")]
    pub(crate) url: Option<String>,
    /// Host of the broker [default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", num_args = 0..=1, default_missing_value = "", help_heading = "Target")]
    pub(crate) host: Option<String>,
    /// Port of the broker [default: 1883; 8883 with TLS, 80 and 443 over WebSocket]
    #[arg(short = 'p', long, value_name = "PORT", help_heading = "Target")]
    pub(crate) port: Option<u16>,
    /// Connect to this Unix socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "host", "port", "web_socket"], help_heading = "Target")]
    pub(crate) unix: Option<PathBuf>,
    /// Speak MQTT over WebSocket
    #[arg(long = "ws", help_heading = "Target")]
    pub(crate) web_socket: bool,
    /// Local address to connect from
    #[arg(short = 'A', long, value_name = "ADDRESS", help_heading = "Target")]
    pub(crate) bind_address: Option<IpAddr>,
    /// Accepted for mosquitto's sake: small packets never wait here
    #[arg(long, hide = true)]
    pub(crate) nodelay: bool,

    /// Client identifier [default: the broker chooses one]
    #[arg(short = 'i', long, alias = "client-id", value_name = "ID", allow_hyphen_values = true, help_heading = "Session")]
    pub(crate) id: Option<String>,
    /// Client identifier made of this prefix and the process number
    #[arg(short = 'I', long, value_name = "PREFIX", allow_hyphen_values = true, conflicts_with = "id", help_heading = "Session")]
    pub(crate) id_prefix: Option<String>,
    /// Keep the session after this command ends (needs -i)
    #[arg(
        short = 'c',
        long = "disable-clean-session",
        visible_alias = "keep-session",
        alias = "no-clean",
        help_heading = "Session"
    )]
    pub(crate) keep_session: bool,
    /// How long the broker keeps the session: 30s, 1h, or -1 for ever [default: 0, with -c for ever]
    #[arg(short = 'x', long, value_name = "DURATION", allow_hyphen_values = true, value_parser = values::session_expiry, help_heading = "Session")]
    pub(crate) session_expiry: Option<u32>,
    /// Keep-alive in seconds
    #[arg(short = 'k', long, value_name = "SECONDS", default_value_t = 60, help_heading = "Session")]
    pub(crate) keepalive: u16,
    /// MQTT version: 5, 3.1.1 or 3.1 [default: 5, and 3.1.1 where the broker refuses 5]
    #[arg(short = 'V', long, alias = "mqtt-version", value_name = "VERSION", value_parser = version, help_heading = "Session")]
    pub(crate) protocol_version: Option<Version>,

    /// User name [env: COLUMBA_USERNAME]
    #[arg(short = 'u', long, value_name = "USER", allow_hyphen_values = true, help_heading = "Login")]
    pub(crate) username: Option<String>,
    /// Password, or - to be asked for it; other users of this machine can see a password given here [env: COLUMBA_PASSWORD]
    #[arg(
        short = 'P',
        long = "password",
        alias = "pw",
        value_name = "PASSWORD",
        allow_hyphen_values = true,
        help_heading = "Login"
    )]
    pub(crate) password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    pub(crate) password_file: Option<PathBuf>,
    /// Show user name and password by this method, in which the password does not travel (MQTT 5)
    #[arg(long, value_name = "METHOD", value_parser = auth_method, help_heading = "Login")]
    pub(crate) auth_method: Option<AuthMethod>,

    /// Certificates of the authorities that may vouch for the broker (PEM); means TLS [default: those of the system]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cafile: Option<PathBuf>,
    /// A directory with such files; means TLS
    #[arg(long, value_name = "DIR", conflicts_with = "cafile", help_heading = "TLS")]
    pub(crate) capath: Option<PathBuf>,
    /// Trust the authorities of the system; means TLS
    #[arg(long, conflicts_with_all = ["cafile", "capath"], help_heading = "TLS")]
    pub(crate) tls_use_os_certs: bool,
    /// Our certificate (PEM); means TLS
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
    /// Take every certificate: whoever stands between reads and writes along
    #[arg(long, help_heading = "TLS")]
    pub(crate) insecure: bool,

    /// Messages at QoS 1 and 2 in flight at once
    #[arg(short = 'M', long, alias = "max-inflight", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Flow")]
    pub(crate) inflight: u16,
    /// Messages at QoS 1 and 2 that the broker may have in flight to us (MQTT 5)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Flow")]
    pub(crate) receive_maximum: Option<u16>,
    /// Largest packet that the broker may send us (MQTT 5)
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Flow")]
    pub(crate) max_packet_size: Option<u32>,

    /// Topic of the will
    #[arg(long, value_name = "TOPIC", help_heading = "Will")]
    pub(crate) will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "will_topic", help_heading = "Will")]
    pub(crate) will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", value_parser = qos(), requires = "will_topic", help_heading = "Will")]
    pub(crate) will_qos: Option<QoS>,
    /// Make the will a retained message
    #[arg(long, requires = "will_topic", help_heading = "Will")]
    pub(crate) will_retain: bool,
    /// How long the broker waits before it publishes the will (MQTT 5)
    #[arg(long, value_name = "DURATION", value_parser = values::expiry_seconds, requires = "will_topic", help_heading = "Will")]
    pub(crate) will_delay: Option<u32>,

    /// A property (MQTT 5): -D PACKET NAME VALUE, or -D PACKET user-property NAME VALUE
    #[arg(short = 'D', long = "property", value_name = "PACKET NAME VALUE", value_parser = PropertyFlag::parse, allow_hyphen_values = true, help_heading = "Properties")]
    pub(crate) properties: Vec<PropertyFlag>,

    /// Print each packet: names of the exchange, with details, or all packets
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "names", help_heading = "Output")]
    pub(crate) trace: Option<TraceLevel>,
    /// Where the trace goes: stderr, stdout or a file
    #[arg(long, value_name = "PLACE", default_value = "stderr", help_heading = "Output")]
    pub(crate) trace_to: String,
    /// Say what the client does, on stderr
    #[arg(short = 'd', long, help_heading = "Output")]
    pub(crate) debug: bool,
    /// Print no errors and no notes
    #[arg(long, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Connect again when the connection is lost
    #[arg(long, overrides_with = "no_reconnect", help_heading = "Time")]
    pub(crate) reconnect: bool,
    /// End when the connection is lost
    #[arg(long, overrides_with = "reconnect", help_heading = "Time")]
    pub(crate) no_reconnect: bool,
    /// End with status 27 when the command takes longer
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Time")]
    pub(crate) timeout: Option<Duration>,
}

impl CommonArgs {
    /// Whether an option makes sense in TLS alone; `--insecure` weakens it, and asks for nothing.
    pub(crate) fn asks_for_tls(&self) -> bool {
        self.cafile.is_some() || self.capath.is_some() || self.tls_use_os_certs || self.cert.is_some()
    }
}

/// What `columba pub` takes.
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the command line")]
pub(crate) struct PubArgs {
    /// Topic, where -t does not name it
    #[arg(value_name = "TOPIC", allow_hyphen_values = false)]
    pub(crate) positional_topic: Option<String>,
    /// Message, where no other option gives it
    #[arg(value_name = "MESSAGE", allow_negative_numbers = true)]
    pub(crate) positional_message: Option<String>,
    /// Topic to publish to
    #[arg(short = 't', long, value_name = "TOPIC", allow_hyphen_values = true)]
    pub(crate) topic: Option<String>,
    /// The message
    #[arg(short = 'm', long, value_name = "TEXT", allow_hyphen_values = true, group = "payload")]
    pub(crate) message: Option<String>,
    /// The message is the content of a file
    #[arg(short = 'f', long, value_name = "FILE", group = "payload")]
    pub(crate) file: Option<PathBuf>,
    /// Each line of standard input is a message
    #[arg(short = 'l', long, group = "payload")]
    pub(crate) stdin_line: bool,
    /// The whole of standard input is one message
    #[arg(short = 's', long, group = "payload")]
    pub(crate) stdin_file: bool,
    /// The message is empty
    #[arg(short = 'n', long, group = "payload")]
    pub(crate) null_message: bool,
    /// Quality of service: 0, 1 or 2
    #[arg(short = 'q', long, value_name = "QOS", value_parser = qos(), default_value = "0")]
    pub(crate) qos: QoS,
    /// Make it a retained message
    #[arg(short = 'r', long)]
    pub(crate) retain: bool,
    /// Publish the message so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) repeat: u64,
    /// Pause between repetitions
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) repeat_delay: Option<Duration>,

    /// A user property, NAME=VALUE; may be repeated (MQTT 5)
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::user_property, allow_hyphen_values = true, help_heading = "Properties")]
    pub(crate) user_property: Vec<(String, String)>,
    /// Content type of the payload (MQTT 5)
    #[arg(long, value_name = "TYPE", help_heading = "Properties")]
    pub(crate) content_type: Option<String>,
    /// How long the message is worth delivering (MQTT 5)
    #[arg(long, alias = "message-expiry-interval", value_name = "DURATION", value_parser = values::expiry_seconds, help_heading = "Properties")]
    pub(crate) expiry: Option<u32>,
    /// Topic for a response (MQTT 5)
    #[arg(long, value_name = "TOPIC", help_heading = "Properties")]
    pub(crate) response_topic: Option<String>,
    /// Correlation data of a request (MQTT 5)
    #[arg(long, alias = "correlation-data", value_name = "TEXT", allow_hyphen_values = true, help_heading = "Properties")]
    pub(crate) correlation: Option<String>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What `columba sub` takes.
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the command line")]
pub(crate) struct SubArgs {
    /// Topic filters, as with -t
    #[arg(value_name = "FILTER")]
    pub(crate) positional_filters: Vec<String>,
    /// Topic filter to subscribe to; may be repeated
    #[arg(short = 't', long = "topic", value_name = "FILTER", allow_hyphen_values = true)]
    pub(crate) filters: Vec<String>,
    /// Highest QoS to receive: 0, 1 or 2
    #[arg(short = 'q', long, value_name = "QOS", value_parser = qos(), default_value = "0")]
    pub(crate) qos: QoS,
    /// Do not print messages whose topic matches; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER", allow_hyphen_values = true)]
    pub(crate) filter_out: Vec<String>,
    /// Unsubscribe from this filter; may be repeated
    #[arg(short = 'U', long, value_name = "FILTER", allow_hyphen_values = true)]
    pub(crate) unsubscribe: Vec<String>,
    /// End after so many messages
    #[arg(short = 'C', value_name = "N", long = "count", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End with status 27 after this time
    #[arg(short = 'W', value_name = "DURATION", long = "wait", value_parser = values::duration)]
    pub(crate) wait: Option<Duration>,
    /// End as soon as the broker has acknowledged the subscriptions
    #[arg(short = 'E', long = "exit-after-subscribe")]
    pub(crate) exit_after_subscribe: bool,
    /// Do not print retained messages
    #[arg(short = 'R', long = "no-retained")]
    pub(crate) no_retained: bool,
    /// Print retained messages only, and end at the first that is not
    #[arg(long)]
    pub(crate) retained_only: bool,
    /// Clear each retained message that arrives
    #[arg(long)]
    pub(crate) remove_retained: bool,

    /// Print the topic in front of the payload
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// Print each message in this format: %t topic, %p payload, %q QoS, %j JSON, @H:@M time ...
    #[arg(short = 'F', value_name = "FORMAT", long = "output-format", allow_hyphen_values = true, conflicts_with = "format")]
    pub(crate) output_format: Option<String>,
    /// Print no newline after a message
    #[arg(short = 'N', long = "no-newline")]
    pub(crate) no_newline: bool,
    /// How to print: the payload as text, one JSON object a message, or the payload as hex or base64
    #[arg(long, value_name = "KIND", value_enum, default_value = "text")]
    pub(crate) format: OutputKind,
    /// Spread JSON over several lines
    #[arg(long)]
    pub(crate) pretty: bool,

    /// Do not receive what this client itself publishes (MQTT 5)
    #[arg(long, help_heading = "Subscription")]
    pub(crate) no_local: bool,
    /// Keep the retain flag of live messages (MQTT 5)
    #[arg(long, help_heading = "Subscription")]
    pub(crate) retain_as_published: bool,
    /// When retained messages are sent: 0 always, 1 for a new subscription, 2 never (MQTT 5)
    #[arg(long, value_name = "WHEN", value_parser = PossibleValuesParser::new(["0", "1", "2", "always", "new", "never"]), help_heading = "Subscription")]
    pub(crate) retain_handling: Option<String>,
    /// Share the subscription with the other members of this group (MQTT 5, and brokers that offer it earlier)
    #[arg(long, value_name = "GROUP", help_heading = "Subscription")]
    pub(crate) share: Option<String>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What `columba demo` takes.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Use this broker instead of one of its own
    #[arg(long, short = 'L', value_name = "URL", hide = true)]
    pub(crate) url: Option<String>,
}

/// How much `--trace` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TraceLevel {
    /// The names of the packets that carry messages
    Names,
    /// The same with times and fields
    Detail,
    /// Every packet, with times and fields
    All,
}

/// How `sub` prints messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum OutputKind {
    /// The payload as it came
    #[value(alias = "raw")]
    Text,
    /// One JSON object a message
    #[value(alias = "jsonl")]
    Json,
    /// The same, where the payload itself is JSON
    JsonPayload,
    /// The payload in hexadecimal
    Hex,
    /// The payload in base64
    Base64,
}

/// Reads a version as mosquitto, MQTTX or the wire name it.
pub(crate) fn version(text: &str) -> Result<Version, String> {
    match text.to_ascii_lowercase().as_str() {
        "5" | "5.0" | "mqttv5" | "mqttv50" => Ok(Version::V5),
        "3.1.1" | "4" | "311" | "mqttv311" => Ok(Version::V311),
        "3.1" | "3" | "31" | "mqttv31" => Ok(Version::V31),
        _ => Err("write 5, 3.1.1 or 3.1".to_owned()),
    }
}

/// Reads the name of an enhanced authentication, as the standard's property has it or in small letters.
fn auth_method(text: &str) -> Result<AuthMethod, String> {
    if text.eq_ignore_ascii_case(columba_proto::scram::METHOD) {
        Ok(AuthMethod::ScramSha256)
    } else {
        Err("write scram-sha-256".to_owned())
    }
}

pub(crate) fn qos() -> impl Fn(&str) -> Result<QoS, String> + Clone + Send + Sync + 'static {
    |text: &str| {
        let bits: u8 = text.parse().map_err(|_| "a QoS is 0, 1 or 2".to_owned())?;
        QoS::try_from(bits).map_err(|_| "a QoS is 0, 1 or 2".to_owned())
    }
}
