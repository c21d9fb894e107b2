//! Clients with wrong certificates, one after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{io, thread};

use columba_net::tls::{Client, Identity, Tls, client_config};
use columba_net::{Heard, Scratch, Stack};
use columba_proto::Version;

use super::{Attacker, Seen, voices};
use crate::load::{LoadError, SessionKind, frames, wrong_identities};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 * 1024;

/// Each of so many threads tries nothing, a stranger's certificate, an expired one, and chains without end, again and again.
pub(super) fn show_wrong_ones(attacker: Attacker<'_>, begun: impl FnOnce()) -> Result<Seen, LoadError> {
    let Attacker { target, connections: threads, over, .. } = attacker;
    let address = target.certified;
    let clients: Result<Vec<Begin>, LoadError> = wrong_identities().iter().map(|identity| client(identity.as_ref())).collect();
    let clients = clients?;
    begun();
    let of_threads: Vec<Seen> = thread::scope(|scope| {
        let tries = |_| {
            scope.spawn(|| {
                let mut seen = Seen::default();
                for begin in clients.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    try_once(address, begin, &mut seen);
                }
                seen
            })
        };
        let handles: Vec<_> = (0..threads).map(tries).collect();
        handles.into_iter().map(|handle| handle.join().expect("a thread that only tries")).collect()
    });
    Ok(of_threads.iter().fold(Seen::default(), |sum, seen| Seen {
        opened: sum.opened + seen.opened,
        closed: sum.closed + seen.closed,
        let_in: sum.let_in + seen.let_in,
    }))
}

/// Begins TLS as one of them.
type Begin = Box<dyn Fn() -> io::Result<Tls> + Sync>;

fn client(identity: Option<&(String, &'static str)>) -> Result<Begin, LoadError> {
    let identity = identity.map(|(chain, key)| Identity { chain: chain.as_bytes(), key: key.as_bytes() });
    let config = client_config(&Client { roots: None, identity, protocols: &[] });
    let config = config.map_err(|error| LoadError::io("beginning TLS")(io::Error::other(error)))?;
    Ok(Box::new(move || {
        let name = "localhost".try_into().map_err(io::Error::other)?;
        Tls::client(Arc::clone(&config), name).map_err(io::Error::other)
    }))
}

/// Connects, and says CONNECT whatever the answer is.
fn try_once(address: SocketAddr, begin: &Begin, seen: &mut Seen) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    seen.opened += 1;
    let answer = talk(&mut stream, begin).unwrap_or_default();
    if voices::says_yes(&answer) {
        seen.let_in += 1;
    } else {
        seen.closed += 1;
    }
}

/// What comes back inside of TLS, up to its first bytes or the end.
fn talk(stream: &mut TcpStream, begin: &Begin) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut stack, mut scratch) = (Stack::new(None, Some(begin()?), None), Scratch::default());
    let (mut outward, mut inward) = (Vec::new(), Vec::new());
    let mut connect = Some(frames::connect(Version::V311, "uninvited", SessionKind::Clean));
    let mut buffer = vec![0; READ_BYTES];
    loop {
        stack.outgoing(&mut outward, &mut scratch).map_err(io::Error::other)?;
        if stack.is_open()
            && let Some(connect) = connect.take()
        {
            stack.write(&connect, &mut outward, &mut scratch).map_err(io::Error::other)?;
        }
        stream.write_all(&outward)?;
        outward.clear();
        if !inward.is_empty() {
            return Ok(inward);
        }
        let count = stream.read(&mut buffer)?;
        let heard = stack.read(&mut buffer[..count], &mut inward, &mut scratch).map_err(io::Error::other)?;
        if count == 0 || heard != Heard::More {
            return Ok(inward);
        }
    }
}
