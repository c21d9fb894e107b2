//! WebSocket: handshake and frames, however the bytes are cut.

use std::sync::Arc;

use columba_net::{
    Heard, Layer,
    websocket::{Policy, WebSocket},
};

/// A request that is taken, so that frames come soon.
const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Any bytes are a stream of MQTT, or an error; the same however they are cut. What one end writes, the other reads. The first byte says who reads, and how
/// the bytes are cut.
///
/// # Panics
///
/// When that does not hold, or when more than a head and a control frame is kept of what came.
pub fn websocket(data: &[u8]) {
    let Some((&kind, wire)) = data.split_first() else { return };
    let piece = usize::from(kind >> 2) + 1;
    let whole = read(&mut reader(kind), wire, usize::MAX);
    let pieces = read(&mut reader(kind), wire, piece);
    assert_eq!(whole, pieces, "cut into pieces of {piece}, the stream means something else");

    let (mut client, mut server) = opened();
    let mut said = Vec::new();
    client.write(wire, &mut said).expect("an open WebSocket takes bytes");
    assert_eq!(read(&mut server, &said, piece), (wire.to_vec(), Some(Heard::More)));
    let mut said = Vec::new();
    server.write(wire, &mut said).expect("an open WebSocket takes bytes");
    assert_eq!(read(&mut client, &said, piece), (wire.to_vec(), Some(Heard::More)));
}

fn reader(kind: u8) -> WebSocket {
    match kind & 3 {
        0 => opened().1,
        1 => opened().0,
        2 => WebSocket::server(Arc::new(Policy { path: Some("/mqtt".into()), origins: vec!["https://a".into()] })),
        _ => WebSocket::server_or_plain(Arc::default()),
    }
}

/// Both ends after their handshake.
fn opened() -> (WebSocket, WebSocket) {
    let (mut client, mut server) = (WebSocket::client("x", "/mqtt"), WebSocket::server(Arc::default()));
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    client.outgoing(&mut request);
    assert!(request.len() < 2 * REQUEST.len());
    server.read(&mut request, &mut Vec::new()).expect("our own request");
    server.outgoing(&mut answer);
    client.read(&mut answer, &mut Vec::new()).expect("our own answer");
    assert!(client.is_open() && server.is_open());
    (client, server)
}

/// What the stream means up to its end or its error (`None`).
fn read(layer: &mut WebSocket, wire: &[u8], piece: usize) -> (Vec<u8>, Option<Heard>) {
    let mut inward = Vec::new();
    let mut heard = Heard::More;
    for piece in wire.chunks(piece.min(wire.len()).max(1)) {
        match layer.read(&mut piece.to_vec(), &mut inward) {
            Ok(Heard::More) => {}
            Ok(Heard::End) => {
                heard = Heard::End;
                break;
            }
            Err(_) => return (inward, None),
        }
        let mut reply = Vec::new();
        layer.outgoing(&mut reply);
        assert!(reply.len() <= 1024, "an answer that is too long");
    }
    (inward, Some(heard))
}
