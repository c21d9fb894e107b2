//! One event as one line.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::field::{Field, Visit};

use crate::config::LogFormat;

pub(super) fn format(format: LogFormat, event: &tracing::Event<'_>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let level = *event.metadata().level();
    let mut message = Message::default();
    event.record(&mut message);
    let mut line = String::with_capacity(128);
    match format {
        LogFormat::Text => {
            let mut fields = TextFields(String::new());
            event.record(&mut fields);
            put(&mut line, format_args!("{} {level} {}{}\n", TimeOfDay(now), message.0, fields.0));
        }
        LogFormat::Json => {
            put(
                &mut line,
                format_args!("{{\"ts\":{}.{:03},\"level\":\"{level}\",\"event\":", now.as_secs(), now.subsec_millis()),
            );
            quote(&mut line, &message.0);
            let mut fields = JsonFields(line);
            event.record(&mut fields);
            line = fields.0;
            line.push_str("}\n");
        }
    }
    line
}

/// What happened, without its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            put(&mut self.0, format_args!("{value:?}"));
        }
    }
}

struct TextFields(String);

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        put(&mut self.0, format_args!(" {}=", field.name()));
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || "\"=".contains(c));
        if plain {
            self.0.push_str(value);
        } else {
            quote(&mut self.0, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

struct JsonFields(String);

impl JsonFields {
    fn key(&mut self, field: &Field) {
        self.0.push(',');
        quote(&mut self.0, field.name());
        self.0.push(':');
    }
}

impl Visit for JsonFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.key(field);
        put(&mut self.0, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.key(field);
        put(&mut self.0, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.key(field);
        put(&mut self.0, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field);
        quote(&mut self.0, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

/// As a JSON string. Control characters never reach the terminal as they are: a client chooses its identifier.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all that fits memory");
}

/// The time of day in UTC.
struct TimeOfDay(Duration);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs() % 86_400;
        write!(f, "{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use columba_broker::event::Event;
    use columba_proto::{ReasonCode, Version};
    use tracing::Subscriber;
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt},
    };

    use super::*;
    use crate::users::Attempts;

    struct Collect(LogFormat, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Collect {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.1.lock().unwrap().push(format(self.0, event));
        }
    }

    /// What one event makes of a format, without the time of day.
    fn one_line(format: LogFormat, happens: impl FnOnce()) -> String {
        let lines = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Collect(format, Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, happens);
        let lines = lines.lock().unwrap();
        match format {
            LogFormat::Text => lines[0][13..].to_owned(),
            LogFormat::Json => lines[0].split_once(",\"level\":").unwrap().1.to_owned(),
        }
    }

    fn somebody_connects() {
        tracing::info!(client_id = "a \"b\"\u{1b}", peer = %"10.0.0.7:5", session = "new", queued = 12_u64, "client connected");
    }

    #[test]
    fn a_text_line_is_time_level_event_fields() {
        let line = one_line(LogFormat::Text, somebody_connects);

        assert_eq!(line, "INFO client connected client_id=\"a \\\"b\\\"\\u001b\" peer=10.0.0.7:5 session=new queued=12\n");
    }

    #[test]
    fn a_json_line_has_stable_keys() {
        let line = one_line(LogFormat::Json, somebody_connects);

        assert_eq!(
            line,
            "\"INFO\",\"event\":\"client connected\",\"client_id\":\"a \\\"b\\\"\\u001b\",\"peer\":\"10.0.0.7:5\",\"session\":\"new\",\"queued\":12}\n"
        );
    }

    #[test]
    fn a_client_s_coming_and_going_name_it_and_its_listener() {
        let user = Some(Box::from("eve"));
        let (client_id, peer): (Box<str>, Box<str>) = ("dev-17".into(), "10.0.0.7:51234".into());
        let connected = Event::Connected {
            client_id: client_id.clone(),
            user: user.clone(),
            peer: peer.clone(),
            listener: 1,
            version: Version::V5,
            resumed: true,
        };
        let disconnected = |user| Event::Disconnected {
            client_id: client_id.clone(),
            user,
            peer: peer.clone(),
            listener: 1,
            why: "connection lost".into(),
            reason: ReasonCode::UNSPECIFIED_ERROR,
            after_ms: 1_500,
        };
        let names = ["mqtt://*:1883", "mqtts://*:8883"];
        let told = |format, event: &Event| {
            one_line(format, || crate::events::tell(event, &Attempts::default(), |number| names[usize::from(number)]))
        };

        assert_eq!(
            told(LogFormat::Text, &connected),
            "INFO client connected client_id=dev-17 user=eve peer=10.0.0.7:51234 listener=mqtts://*:8883 v=5 session=resumed\n"
        );
        let gone = "peer=10.0.0.7:51234 listener=mqtts://*:8883 reason=\"connection lost\" reason_code=128 duration_ms=1500\n";
        assert_eq!(
            told(LogFormat::Text, &disconnected(user.clone())),
            format!("INFO client disconnected client_id=dev-17 user=eve {gone}")
        );
        assert_eq!(told(LogFormat::Text, &disconnected(None)), format!("INFO client disconnected client_id=dev-17 {gone}"));
        assert_eq!(
            told(LogFormat::Json, &connected),
            "\"INFO\",\"event\":\"client connected\",\"client_id\":\"dev-17\",\"user\":\"eve\",\"peer\":\"10.0.0.7:51234\",\"listener\":\"mqtts://*:8883\",\"v\":5,\"session\":\"resumed\"}\n"
        );
        assert_eq!(
            told(LogFormat::Json, &disconnected(user)),
            "\"INFO\",\"event\":\"client disconnected\",\"client_id\":\"dev-17\",\"user\":\"eve\",\"peer\":\"10.0.0.7:51234\",\"listener\":\"mqtts://*:8883\",\"reason\":\"connection lost\",\"reason_code\":128,\"duration_ms\":1500}\n"
        );
    }
}
