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

    use tracing::Subscriber;
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt},
    };

    use super::*;

    struct Collect(LogFormat, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Collect {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.1.lock().unwrap().push(format(self.0, event));
        }
    }

    fn one_line(format: LogFormat) -> String {
        let lines = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Collect(format, Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(client_id = "a \"b\"\u{1b}", peer = %"10.0.0.7:5", session = "new", queued = 12_u64, "client connected");
        });
        let lines = lines.lock().unwrap();
        lines[0].clone()
    }

    #[test]
    fn a_text_line_is_time_level_event_fields() {
        let line = one_line(LogFormat::Text);

        assert_eq!(
            &line[12..],
            " INFO client connected client_id=\"a \\\"b\\\"\\u001b\" peer=10.0.0.7:5 session=new queued=12\n"
        );
    }

    #[test]
    fn a_json_line_has_stable_keys() {
        let line = one_line(LogFormat::Json);

        let rest = line.split_once(",\"level\"").unwrap().1;
        assert_eq!(
            rest,
            ":\"INFO\",\"event\":\"client connected\",\"client_id\":\"a \\\"b\\\"\\u001b\",\"peer\":\"10.0.0.7:5\",\"session\":\"new\",\"queued\":12}\n"
        );
    }
}
