//! An authority of our own, and what it signs.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its own part"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use columba_net::tls::Trust;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
    serial: AtomicU64,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Signed {
    pub chain: String,
    pub key: String,
    pub der: Vec<u8>,
    pub serial: u64,
}

/// The same in files.
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, dir: tempfile::tempdir().unwrap(), serial: AtomicU64::new(1) }
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { chain: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec(), serial }
    }

    pub fn client(&self, name: &str) -> Signed {
        self.sign(name, |params| {
            if name.is_empty() {
                params.subject_alt_names = Vec::new();
            }
        })
    }

    pub fn expired_client(&self, name: &str) -> Signed {
        self.sign(name, |params| params.not_after = date_time_ymd(2001, 1, 1))
    }

    /// A server's certificate, good for this name and for 127.0.0.1.
    pub fn server_files(&self, name: &str) -> Files {
        let number = self.serial.load(Ordering::Relaxed);
        let file = |ending: &str| self.dir.path().join(format!("{name}-{number}.{ending}"));
        let files = Files { cert: file("pem"), key: file("key") };
        self.renew(&files, name);
        files
    }

    /// Puts a new certificate with a new key into the files.
    pub fn renew(&self, files: &Files, name: &str) {
        let signed = self.sign(name, |params| {
            params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
        });
        fs::write(&files.key, &signed.key).unwrap();
        fs::write(&files.cert, &signed.chain).unwrap();
        fs::write(files.cert.with_extension("der"), &signed.der).unwrap();
    }

    pub fn ca_file(&self) -> PathBuf {
        let path = self.dir.path().join("ca.pem");
        fs::write(&path, self.issuer.pem()).unwrap();
        path
    }

    pub fn crl_file(&self, revoked: &[&Signed]) -> PathBuf {
        let path = self.dir.path().join("crl.pem");
        self.revoke(&path, revoked);
        path
    }

    /// Writes a list of these and no others.
    pub fn revoke(&self, path: &Path, revoked: &[&Signed]) {
        let one = |signed: &&Signed| RevokedCertParams {
            serial_number: SerialNumber::from(signed.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }

    /// For clients to judge servers by.
    pub fn roots(&self) -> rustls::RootCertStore {
        Trust::roots(self.issuer.pem().as_bytes()).unwrap()
    }
}

impl Files {
    pub fn cert(&self) -> &Path {
        &self.cert
    }

    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The certificate that is in them.
    pub fn der(&self) -> Vec<u8> {
        fs::read(self.cert.with_extension("der")).unwrap()
    }
}
