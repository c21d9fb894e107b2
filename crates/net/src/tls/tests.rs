use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::x509;

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both PEM.
struct Signed {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Signed { chain: certificate.pem(), key: key.serialize_pem() }
    }

    fn revoke(&self, serial: u64, next_update: i32) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

impl Signed {
    fn identity(&self) -> Identity<'_> {
        Identity { chain: self.chain.as_bytes(), key: self.key.as_bytes() }
    }
}

fn server(signed: &Signed, clients: ClientCertificates<'_>, min_version: MinVersion) -> Tls {
    let parts = ServerParts { identity: signed.identity(), clients, protocols: &["mqtt"], min_version };
    Tls::server(server_config(&parts).unwrap().config).unwrap()
}

fn client(authority: &Authority, identity: Option<Identity<'_>>, name: &str, protocols: &[&str]) -> Tls {
    let roots = Trust::roots(authority.pem().as_bytes()).unwrap();
    let config = client_config(&Client { roots: Some(roots), identity, protocols }).unwrap();
    Tls::client(config, name.to_owned().try_into().unwrap()).unwrap()
}

/// Carries what both have to say, in pieces, until they are silent; the answer is the first error, the client's first.
fn shake(client: &mut Tls, server: &mut Tls, piece: usize) -> Result<(), LayerError> {
    while client.has_outgoing() || server.has_outgoing() {
        carry(client, server, piece).1?;
        carry(server, client, piece).1?;
    }
    Ok(())
}

fn carry(from: &mut Tls, to: &mut Tls, piece: usize) -> (Vec<u8>, Result<Heard, LayerError>) {
    let (mut wire, mut inward, mut heard) = (Vec::new(), Vec::new(), Ok(Heard::More));
    from.outgoing(&mut wire);
    for piece in wire.chunks_mut(piece) {
        heard = to.read(piece, &mut inward);
        if heard.is_err() {
            break;
        }
    }
    (inward, heard)
}

fn sent(from: &mut Tls, to: &mut Tls, bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut wire, mut inward) = (Vec::new(), Vec::new());
    from.write(bytes, &mut wire).unwrap();
    for piece in wire.chunks_mut(piece) {
        to.read(piece, &mut inward).unwrap();
    }
    inward
}

#[test]
fn bytes_of_any_length_and_in_any_pieces_pass_both_ways() {
    let authority = Authority::new();
    let signed = authority.sign("broker", 1, |_| {});
    for (min_version, piece) in [(MinVersion::Tls12, 1), (MinVersion::Tls13, 977), (MinVersion::Tls13, usize::MAX)] {
        let mut server = server(&signed, ClientCertificates::NotAsked, min_version);
        let mut client = client(&authority, None, "broker", &["mqtt"]);

        shake(&mut client, &mut server, piece).unwrap();

        assert!(client.is_open() && server.is_open());
        for len in [1, 100, 16_384, 16_385, 100_000] {
            let bytes = vec![7; len];
            assert_eq!(sent(&mut client, &mut server, &bytes, piece), bytes);
            assert_eq!(sent(&mut server, &mut client, &bytes, piece), bytes);
        }
        assert_eq!((server.partial.capacity(), server.reply.capacity()), (0, 0), "idle, it keeps nothing");
    }
}

#[test]
fn a_close_is_heard() {
    let authority = Authority::new();
    let mut server = server(&authority.sign("broker", 1, |_| {}), ClientCertificates::NotAsked, MinVersion::Tls12);
    let mut client = client(&authority, None, "broker", &[]);
    shake(&mut client, &mut server, usize::MAX).unwrap();

    let mut wire = Vec::new();
    client.close(&mut wire);

    assert_eq!(server.read(&mut wire, &mut Vec::new()), Ok(Heard::End));
    let mut wire = Vec::new();
    server.close(&mut wire);
    assert_eq!(client.read(&mut wire, &mut Vec::new()), Ok(Heard::End));
}

/// What comes of a client with this certificate: its name, or nobody.
fn admitted(server: &mut Tls, client: &mut Tls) -> Result<String, LayerError> {
    shake(client, server, usize::MAX)?;
    Ok(server.peer_certificate().and_then(x509::common_name).unwrap_or_default())
}

#[test]
fn a_client_is_known_by_its_certificate_or_not_let_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let own = authority.sign("broker", 1, |_| {});
    let (good, bad) = (authority.sign("pump-7", 2, |_| {}), authority.sign("pump-8", 3, |_| {}));
    let foreign = stranger.sign("pump-7", 2, |_| {});
    let expired = authority.sign("pump-9", 4, |params| params.not_after = date_time_ymd(2001, 1, 1));
    let (roots, revoked) = (authority.pem(), authority.revoke(3, 4000));
    let trust = Trust { roots: roots.as_bytes(), revoked: Some(revoked.as_bytes()) };
    let try_with = |clients, identity: Option<&Signed>| {
        let mut client = client(&authority, identity.map(Signed::identity), "broker", &["mqtt"]);
        admitted(&mut server(&own, clients, MinVersion::Tls12), &mut client)
    };

    assert_eq!(try_with(ClientCertificates::Required(trust), Some(&good)), Ok("pump-7".into()));
    assert_eq!(try_with(ClientCertificates::Optional(trust), None), Ok(String::new()));
    for (refused, with) in [("revoked", Some(&bad)), ("foreign", Some(&foreign)), ("expired", Some(&expired)), ("none", None)] {
        assert!(try_with(ClientCertificates::Required(trust), with).is_err(), "{refused}");
    }
    assert!(try_with(ClientCertificates::Optional(trust), Some(&bad)).is_err());
    let old = authority.revoke(3, 2025);
    let trust = Trust { revoked: Some(old.as_bytes()), ..trust };
    assert!(try_with(ClientCertificates::Required(trust), Some(&good)).is_err(), "a list that is out of date lets nobody in");
}

#[test]
fn a_server_is_known_by_its_name_unless_anybody_will_do() {
    let authority = Authority::new();
    let signed = authority.sign("broker", 1, |_| {});
    let connect = |mut client: Tls| {
        let mut server = server(&signed, ClientCertificates::NotAsked, MinVersion::Tls12);
        shake(&mut client, &mut server, usize::MAX)
    };

    assert!(connect(client(&authority, None, "broker", &[])).is_ok());
    assert!(connect(client(&authority, None, "another", &[])).is_err());
    assert!(connect(client(&Authority::new(), None, "broker", &[])).is_err());
    let anybody = client_config(&Client { roots: None, identity: None, protocols: &["mqtt"] }).unwrap();
    assert!(connect(Tls::client(anybody, "whoever".try_into().unwrap()).unwrap()).is_ok());
}

/// What a client finds that trusts `authority`, wants `name`, and is shown `signed`.
fn fault(authority: &Authority, signed: &Signed, name: &str) -> CertificateFault {
    let mut server = server(signed, ClientCertificates::NotAsked, MinVersion::Tls12);
    let error = shake(&mut client(authority, None, name, &["mqtt"]), &mut server, 100).unwrap_err();
    let LayerError::Tls(error) = error else { panic!("{error}") };
    error.certificate().unwrap_or_else(|| panic!("{error}"))
}

#[test]
fn what_is_wrong_with_a_certificate_has_a_name() {
    let authority = Authority::new();
    let good = authority.sign("broker.example", 1, |_| {});
    let many = authority.sign("broker.example", 2, |params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("*.example".try_into().unwrap()));
        params.subject_alt_names.push(rcgen::SanType::IpAddress("10.0.0.5".parse().unwrap()));
    });
    let old = authority.sign("broker.example", 3, |params| params.not_after = date_time_ymd(2001, 1, 1));
    let young = authority.sign("broker.example", 4, |params| params.not_before = date_time_ymd(2400, 1, 1));
    let own = authority.sign("broker.example", 5, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));

    let named = |names: &[&str]| CertificateFault::OtherName {
        wanted: "other.test".into(),
        names: names.iter().map(|&name| name.into()).collect(),
    };
    assert_eq!(fault(&authority, &good, "other.test"), named(&["broker.example"]));
    assert_eq!(fault(&authority, &many, "other.test"), named(&["broker.example", "*.example", "10.0.0.5"]));
    assert_eq!(fault(&Authority::new(), &good, "broker.example"), CertificateFault::Untrusted);
    assert_eq!(fault(&authority, &old, "broker.example"), CertificateFault::Expired { not_after: Some(978_307_200) });
    assert_eq!(fault(&authority, &young, "broker.example"), CertificateFault::NotYet { not_before: Some(13_569_465_600) });
    assert_eq!(fault(&authority, &own, "broker.example"), CertificateFault::Authority);
}

#[test]
fn another_protocol_inside_is_refused_and_silence_is_taken_for_mqtt() {
    let authority = Authority::new();
    let signed = authority.sign("broker", 1, |_| {});
    let offers = |protocols: &[&str]| {
        let mut server = server(&signed, ClientCertificates::NotAsked, MinVersion::Tls12);
        shake(&mut client(&authority, None, "broker", protocols), &mut server, usize::MAX)
    };

    assert!(offers(&["mqtt"]).is_ok());
    assert!(offers(&[]).is_ok());
    assert!(offers(&["h2"]).is_err());
}

#[test]
fn what_is_no_handshake_is_told_so() {
    let signed = Authority::new().sign("broker", 1, |_| {});
    for garbage in [b"\x10\x0C\0\x04MQTT\x05\x02\0\0\0\0\0".as_slice(), b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 100]] {
        let mut server = server(&signed, ClientCertificates::NotAsked, MinVersion::Tls12);

        assert!(server.read(&mut garbage.to_vec(), &mut Vec::new()).is_err());

        let mut wire = Vec::new();
        server.close(&mut wire);
        assert_eq!(wire.first(), Some(&21), "an alert");
    }
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off() {
    let signed = Authority::new().sign("broker", 1, |_| {});
    let mut server = server(&signed, ClientCertificates::NotAsked, MinVersion::Tls12);
    // A ClientHello of 16 MiB, as its length says, in records of 1 KiB.
    let mut record = [[22u8, 3, 1, 4, 0].as_slice(), &[0; 1024]].concat();
    let mut first = record.clone();
    first[5..9].copy_from_slice(&[1, 0, 0xFF, 0xFF]);

    let mut taken = 0;
    let mut heard = server.read(&mut first, &mut Vec::new());
    while heard.is_ok() {
        taken += record.len();
        assert!(taken < 2 * TLS_HANDSHAKE_BYTES_MAX);
        heard = server.read(&mut record, &mut Vec::new());
    }

    assert!(server.partial.capacity() <= 2 * TLS_HANDSHAKE_BYTES_MAX);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("a", 1, |_| {}), authority.sign("a", 2, |_| {}));
    let identity = Identity { chain: one.chain.as_bytes(), key: other.key.as_bytes() };
    let parts = ServerParts { identity, clients: ClientCertificates::NotAsked, protocols: &[], min_version: MinVersion::Tls12 };

    assert!(matches!(server_config(&parts), Err(ConfigError::KeyMismatch(_))));
    let identity = Identity { chain: b"", ..identity };
    assert!(matches!(server_config(&ServerParts { identity, ..parts }), Err(ConfigError::NoCertificate)));
    let identity = Identity { chain: one.chain.as_bytes(), key: b"no key" };
    assert!(matches!(server_config(&ServerParts { identity, ..parts }), Err(ConfigError::Key(_))));
}

#[test]
fn authorities_with_more_names_than_fit_into_a_message_are_not_told_and_count() {
    let authority = Authority::new();
    let (broker, pump) = (authority.sign("broker", 1, |_| {}), authority.sign("pump-7", 2, |_| {}));
    let mut roots = authority.pem();
    // In all 86 KB of names; a list has 64 KiB at most.
    for number in 0..400 {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, format!("{number:0>200}"));
        roots.push_str(&params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem());
    }
    let trust = Trust { roots: roots.as_bytes(), revoked: None };
    let mut server = server(&broker, ClientCertificates::Required(trust), MinVersion::Tls12);
    let mut client = client(&authority, Some(pump.identity()), "broker", &["mqtt"]);

    shake(&mut client, &mut server, usize::MAX).unwrap();

    assert!(client.is_open() && server.is_open());
}
