//! A story that a broken client passes is worth nothing: publishers with one fault each, and the story that finds it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use columba_check::script::Verdict;
use columba_check::script::guests::{self, Order, Running, STORIES, Start, Story};
use columba_check::script::runner::Outcome;
use columba_proto::{QoS, Version};

/// What a publisher of MQTT 3.1.1 does wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wrong {
    Nothing,
    DupAtFirst,
    NoIdentifier,
    NoDupOnRepeat,
    OtherIdentifierOnRepeat,
    PublishAfterPubrec,
    OtherIdentifierInPubrel,
    TalksAfterGoodbye,
}

struct Publisher(Wrong);

struct Thread(Arc<AtomicBool>);

impl Start for Publisher {
    fn start(&self, order: &Order) -> Verdict<Box<dyn Running>> {
        let (wrong, order, ended) = (self.0, order.clone(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&ended);
        thread::spawn(move || {
            // The checker may hang up at any time; then this client is done.
            let _hung_up = publish(wrong, &order);
            flag.store(true, Ordering::Relaxed);
        });
        Ok(Box::new(Thread(ended)))
    }
}

impl Running for Thread {
    fn has_ended(&mut self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn output(&self) -> String {
        String::new()
    }

    fn end(&mut self) {}
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, u8::try_from(body.len()).expect("short")];
    frame.extend_from_slice(body);
    frame
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 5];
    body.extend_from_slice(b"wrong");
    stream.write_all(&frame(0x10, &body))?;
    stream.read_exact(&mut [0; 4])?;
    Ok(stream)
}

fn message(order: &Order, dup: bool, id: u16) -> Vec<u8> {
    let qos = order.qos as u8;
    let mut body = vec![0, u8::try_from(order.topic.len()).expect("short")];
    body.extend_from_slice(order.topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(order.payload.as_bytes());
    frame(0x30 | u8::from(dup) << 3 | qos << 1, &body)
}

fn publish(wrong: Wrong, order: &Order) -> std::io::Result<()> {
    let mut stream = connect(order.address)?;
    let id = u16::from(wrong != Wrong::NoIdentifier);
    stream.write_all(&message(order, wrong == Wrong::DupAtFirst, id))?;
    let mut has_pubrec = false;
    let mut answer = [0; 4];
    let mut is_done = order.qos == QoS::AtMostOnce;
    while !is_done {
        if stream.read_exact(&mut answer).is_err() {
            stream = connect(order.address)?;
            let again = id + u16::from(wrong == Wrong::OtherIdentifierOnRepeat);
            if has_pubrec && wrong != Wrong::PublishAfterPubrec {
                stream.write_all(&[0x62, 2, 0, 1])?;
            } else {
                stream.write_all(&message(order, wrong != Wrong::NoDupOnRepeat, again))?;
            }
            continue;
        }
        is_done = answer[0] != 0x50;
        if is_done {
            continue;
        }
        has_pubrec = true;
        let released = 1 + u8::from(wrong == Wrong::OtherIdentifierInPubrel);
        stream.write_all(&[0x62, 2, 0, released])?;
    }
    stream.write_all(&[0xE0, 0])?;
    if wrong == Wrong::TalksAfterGoodbye {
        stream.write_all(&[0xC0, 0])?;
    }
    Ok(())
}

fn outcome(wrong: Wrong, story: &'static Story) -> Outcome {
    guests::play(story, Version::V311, &Publisher(wrong), 0).outcome
}

fn stories_of_publishers() -> impl Iterator<Item = &'static Story> {
    let is_one = |story: &&Story| story.role == guests::Role::Publisher && story.versions.contains(&Version::V311);
    STORIES.iter().filter(is_one)
}

#[test]
fn a_right_publisher_passes() {
    for story in stories_of_publishers() {
        assert_eq!(outcome(Wrong::Nothing, story), Outcome::Passed, "{}", story.title);
    }
}

#[test]
fn every_wrong_publisher_is_found() {
    let all = [
        Wrong::DupAtFirst,
        Wrong::NoIdentifier,
        Wrong::NoDupOnRepeat,
        Wrong::OtherIdentifierOnRepeat,
        Wrong::PublishAfterPubrec,
        Wrong::OtherIdentifierInPubrel,
        Wrong::TalksAfterGoodbye,
    ];
    for wrong in all {
        let found = stories_of_publishers().any(|story| matches!(outcome(wrong, story), Outcome::Failed { .. }));
        assert!(found, "{wrong:?} is not found");
    }
}
