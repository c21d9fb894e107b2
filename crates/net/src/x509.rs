//! What is read from a certificate beside its verification: who it is for, and until when.
//!
//! Verification is the TLS library's; this looks at certificates that it has accepted, or that are our own.

use std::fmt::Write;

use crate::limits::IDENTITY_BYTES_MAX;

/// Tags of DER (X.690) that stand in a certificate.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Kinds of public keys (RFC 3279, 5480, 8410).
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0, 0x22];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];

/// Attributes with the short names under which OpenSSL prints them.
const NAMES: [(&[u8], &str); 14] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1], "UID"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1], "emailAddress"),
];

/// One element: its tag and what is in it.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// Elements one after the other.
#[derive(Clone, Copy)]
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The next one; `None` at the end and where it is cut off.
    fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, len], rest) = self.0.split_first_chunk()?;
        let (len, rest) = if len < 0x80 {
            (usize::from(len), rest)
        } else {
            let (bytes, rest) =
                rest.split_at_checked(usize::from(len & 0x7F)).filter(|(bytes, _)| (1..=4).contains(&bytes.len()))?;
            (bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(Element { tag, content })
    }

    fn expect(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|element| element.tag == tag).map(|element| Self(element.content))
    }
}

/// What a public key is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PublicKey<'a> {
    /// Both big-endian, without zeros in front.
    Rsa {
        /// `n`.
        modulus: &'a [u8],
        /// `e`.
        exponent: &'a [u8],
    },
    /// An uncompressed point.
    P256(&'a [u8]),
    /// An uncompressed point.
    P384(&'a [u8]),
    /// 32 bytes.
    Ed25519(&'a [u8]),
}

/// The key in a `SubjectPublicKeyInfo` in DER, where it is of one of these kinds.
pub fn public_key(info: &[u8]) -> Option<PublicKey<'_>> {
    key(Elements(info).expect(SEQUENCE)?)
}

/// The key that a certificate is for, where it is of one of these kinds.
pub fn public_key_of(certificate: &[u8]) -> Option<PublicKey<'_>> {
    let mut body = Elements(certificate).expect(SEQUENCE)?.expect(SEQUENCE)?;
    let first = body.next()?;
    if first.tag == VERSION {
        body.next()?;
    }
    // Algorithm, issuer, validity, subject.
    for _ in 0..4 {
        body.expect(SEQUENCE)?;
    }
    key(body.expect(SEQUENCE)?)
}

fn key(mut info: Elements<'_>) -> Option<PublicKey<'_>> {
    let mut algorithm = info.expect(SEQUENCE)?;
    let kind = algorithm.next().filter(|kind| kind.tag == OID)?.content;
    let curve = || -> Option<&[u8]> { Some(Elements(algorithm.0).expect(OID)?.0) };
    // The first byte says how many bits at the end are no part of it.
    let (&[0], bits) = info.expect(BIT_STRING)?.0.split_first_chunk()? else { return None };
    if kind == RSA {
        let mut numbers = Elements(bits).expect(SEQUENCE)?;
        let mut number = || {
            let bytes = numbers.expect(INTEGER)?.0;
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            Some(&bytes[zeros..])
        };
        let (modulus, exponent) = (number()?, number()?);
        return Some(PublicKey::Rsa { modulus, exponent });
    }
    match kind {
        EC if curve() == Some(P256) && bits.len() == 65 => Some(PublicKey::P256(bits)),
        EC if curve() == Some(P384) && bits.len() == 97 => Some(PublicKey::P384(bits)),
        ED25519 if bits.len() == 32 => Some(PublicKey::Ed25519(bits)),
        _ => None,
    }
}

/// Validity and subject of a certificate in DER.
fn parts(certificate: &[u8]) -> Option<(Elements<'_>, Elements<'_>)> {
    let mut body = Elements(certificate).expect(SEQUENCE)?.expect(SEQUENCE)?;
    let first = body.next()?;
    if first.tag == VERSION {
        body.next()?;
    }
    let (_algorithm, _issuer) = (body.expect(SEQUENCE)?, body.expect(SEQUENCE)?);
    let validity = body.expect(SEQUENCE)?;
    let subject = body.expect(SEQUENCE)?;
    Some((validity, subject))
}

/// The subject's common name, the first where there are several. `None` where there is none, or one that cannot be a name (empty, too long, with control
/// characters).
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, mut subject) = parts(certificate)?;
    while let Some(mut set) = subject.expect(SET) {
        while let Some(mut attribute) = set.expect(SEQUENCE) {
            let (oid, value) = (attribute.next()?, attribute.next()?);
            if oid.tag == OID && oid.content == COMMON_NAME {
                return text(value).filter(|name| is_a_name(name));
            }
        }
    }
    None
}

/// The whole subject as RFC 2253 writes it, most specific part first: `CN=pump,O=Works,C=DE`, as OpenSSL prints it and mosquitto takes it for a user name.
/// `None` where it is empty, too long or unreadable.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (_, mut subject) = parts(certificate)?;
    let mut parts = Vec::new();
    while !subject.0.is_empty() {
        let mut set = subject.expect(SET)?;
        let mut part = String::new();
        while !set.0.is_empty() {
            let mut attribute = set.expect(SEQUENCE)?;
            let (oid, value) = (attribute.next()?, attribute.next()?);
            if !part.is_empty() {
                part.push('+');
            }
            write_attribute(oid.content, value, &mut part);
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(",")).filter(|subject| is_a_name(subject))
}

fn is_a_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= IDENTITY_BYTES_MAX && !text.chars().any(char::is_control)
}

/// The end of validity, in seconds since 1970.
pub fn not_after(certificate: &[u8]) -> Option<u64> {
    let (mut validity, _) = parts(certificate)?;
    validity.next()?;
    let end = validity.next()?;
    let digits = std::str::from_utf8(end.content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range| digits.get(range).and_then(|text: &str| text.parse::<u64>().ok());
    let (year, rest) = match (end.tag, digits.len()) {
        // Two digits are 1950 to 2049 (RFC 5280 §4.1.2.5.1).
        (UTC_TIME, 12) => number(0..2).map(|year| (if year < 50 { 2000 + year } else { 1900 + year }, 2))?,
        (GENERALIZED_TIME, 14) => (number(0..4)?, 4),
        _ => return None,
    };
    let two = |place: usize| number(rest + place..rest + place + 2);
    let (month, day) = (two(0)?, two(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(year, month, day)? * 86_400 + two(4)? * 3600 + two(6)? * 60 + two(8)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    (before + (month * 153 + 2) / 5 + day - 1).checked_sub(719_468)
}

fn text(value: Element<'_>) -> Option<String> {
    match value.tag {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString.
        0x0C | 0x12 | 0x13 | 0x16 | 0x1A => String::from_utf8(value.content.to_vec()).ok(),
        // TeletexString: in practice Latin-1.
        0x14 => Some(value.content.iter().map(|&byte| char::from(byte)).collect()),
        // BMPString.
        0x1E => {
            let (units, rest) = value.content.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|&unit| u16::from_be_bytes(unit)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

fn write_attribute(oid: &[u8], value: Element<'_>, out: &mut String) {
    let known = NAMES.iter().find(|(known, _)| *known == oid);
    match (known, text(value)) {
        (Some((_, name)), Some(text)) => {
            out.push_str(name);
            out.push('=');
            escape(&text, out);
        }
        (name, _) => {
            match name {
                Some((_, name)) => out.push_str(name),
                None => write_oid(oid, out),
            }
            out.push_str("=#");
            hex(&[value.tag], "", out);
            hex(value.content, "", out);
        }
    }
}

fn write_oid(oid: &[u8], out: &mut String) {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0u64;
    for &byte in oid {
        arc = arc << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let root = (arc / 40).min(2);
                arcs.extend([root, arc - root * 40]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    let arcs: Vec<String> = arcs.iter().map(u64::to_string).collect();
    out.push_str(&arcs.join("."));
}

/// RFC 2253 §2.4, and everything beyond ASCII by its bytes, as OpenSSL does it.
fn escape(text: &str, out: &mut String) {
    for (place, character) in text.char_indices() {
        let is_edge = (place == 0 && matches!(character, ' ' | '#')) || (place + 1 == text.len() && character == ' ');
        if is_edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
            out.push(character);
        } else if character.is_ascii() && !character.is_ascii_control() {
            out.push(character);
        } else {
            hex(character.encode_utf8(&mut [0; 4]).as_bytes(), "\\", out);
        }
    }
}

fn hex(bytes: &[u8], before: &str, out: &mut String) {
    for byte in bytes {
        write!(out, "{before}{byte:02X}").expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.not_after = date_time_ymd(2031, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_for_whom_it_is_and_until_when() {
        let der = certificate(&[
            (DnType::CountryName, "GB".into()),
            (DnType::OrganizationName, "Works, \"North\"".into()),
            (DnType::CommonName, "test client".into()),
        ]);

        assert_eq!(common_name(&der).as_deref(), Some("test client"));
        assert_eq!(subject(&der).as_deref(), Some("CN=test client,O=Works\\, \\\"North\\\",C=GB"));
        // 2031-03-01T00:00:00Z.
        assert_eq!(not_after(&der), Some(1_930_089_600));
    }

    #[test]
    fn letters_beyond_ascii_stay_in_a_name_and_are_escaped_in_a_subject() {
        let der = certificate(&[(DnType::CommonName, "Zähler".into())]);

        assert_eq!(common_name(&der).as_deref(), Some("Zähler"));
        assert_eq!(subject(&der).as_deref(), Some("CN=Z\\C3\\A4hler"));
    }

    #[test]
    fn who_has_no_name_is_nobody() {
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, "Works".into())])), None);
        assert_eq!(common_name(&certificate(&[(DnType::CommonName, "a\0b".into())])), None);
        assert_eq!(subject(&certificate(&[])), None);
        assert_eq!(subject(&certificate(&[(DnType::CommonName, "x".repeat(IDENTITY_BYTES_MAX).into())])), None);
    }

    #[test]
    fn an_unknown_attribute_is_shown_by_its_number() {
        let der = certificate(&[(DnType::CustomDnType(vec![2, 5, 4, 65]), "p".into())]);

        assert_eq!(subject(&der).as_deref(), Some("2.5.4.65=#0C70"));
    }

    #[test]
    fn a_certificate_that_is_cut_off_says_nothing_and_harms_nobody() {
        let der = certificate(&[(DnType::CommonName, "x".into())]);

        for len in 0..der.len() {
            assert_eq!((common_name(&der[..len]), not_after(&der[..len])), (None, None));
        }
        for place in 0..der.len() {
            let mut broken = der.clone();
            broken[place] ^= 0xFF;
            drop((common_name(&broken), subject(&broken), not_after(&broken)));
        }
    }
}
