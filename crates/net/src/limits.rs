//! Bounds on everything that the other end feeds.

/// Bytes of a TLS handshake that are taken, with the certificates in it. Chains of five RSA certificates stay below 10 KiB.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the names of authorities that a client is told where it is asked for a certificate (RFC 8446 §4.2.4): of more it is told none, and chooses by
/// itself. All public authorities together have 14 KiB; a list has 64 KiB at most, and clients bound the handshake, too.
pub const AUTHORITY_NAMES_BYTES_MAX: usize = 32 * 1024;

/// Bytes of an HTTP head: request or status line and all fields. Browsers with cookies stay below 4 KiB.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Payload of one WebSocket frame: the largest MQTT packet. Frames are passed on as they come, so this guards no memory; a larger one is a mistake or an attack.
pub const FRAME_PAYLOAD_MAX: u64 = 268_435_455 + 5;

/// Payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// Bytes of the first kind of PROXY header, by its specification.
pub const PROXY_V1_BYTES_MAX: usize = 107;

/// Bytes behind the sixteen of the second kind: addresses, and what else a proxy says of a connection.
pub const PROXY_V2_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a name that is taken from a certificate.
pub const IDENTITY_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the protocol that one write takes through the layers: four TLS records.
pub const WRITE_BYTES_MAX: usize = 64 * 1024;
