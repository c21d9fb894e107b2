//! What every request has to pass, and what every answer carries: no page of another site reads or does anything here.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::problem::Problem;
use crate::admin::outside::Outside;

/// How long an answer may take to be made.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer, whatever it is.
const HEADERS: [(header::HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CSP),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

pub(super) async fn watch(State(outside): State<Arc<Outside>>, request: Request, next: Next) -> Response {
    // Probes of the machine that runs us use whatever name they like, and learn one word.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let judged = if is_probe { Ok(()) } else { judge(request.uri(), request.headers(), &outside.in_force().hosts) };
    let mut response = match judged {
        Ok(()) => match timeout(ANSWER_MAX, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::unavailable("the answer took too long").into_response(),
        },
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a request was meant for us, and not by a page of somebody else.
fn judge(uri: &Uri, headers: &HeaderMap, hosts: &[Box<str>]) -> Result<(), Problem> {
    let mut all = headers.get_all(header::HOST).iter();
    let (Some(Ok(host)), None) = (all.next().map(HeaderValue::to_str), all.next()) else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "one Host header, please"));
    };
    // An absolute address would go before the header (RFC 9112, 3.2.2): who means well writes the same into both.
    if uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the address and the Host header name different hosts"));
    }
    if !is_known(host, hosts) {
        let detail = format!("this broker does not know itself as {host:?}; if it should, add the name to http.hosts");
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    // Browsers say who asks; other programs do not, and cannot be made to by a page.
    let of_another = Problem::new(StatusCode::FORBIDDEN, "a page of another site asks for this");
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own =
            origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Err(of_another);
        }
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(of_another),
    }
}

/// Whether a Host header names us. An address always does: whoever wants to be taken for us by another name needs a name.
fn is_known(host: &str, hosts: &[Box<str>]) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost")
        || name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>().is_ok()
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.chars().all(|c| c.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Whether a Host header names this machine only.
pub(super) fn is_local_host(host: &str) -> bool {
    let name = without_port(host);
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(headers: &[(&'static str, &str)]) -> Result<(), u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        judge(&Uri::from_static("/metrics"), &map, &["broker.example".into()]).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        for own in [
            "127.0.0.1:8083",
            "[::1]:8083",
            "[::1]",
            "10.0.0.7",
            "localhost",
            "LOCALHOST:1",
            "broker.example:80",
            "Broker.Example",
        ] {
            assert_eq!(judged(&[("host", own)]), Ok(()), "{own}");
        }
    }

    #[test]
    fn a_name_that_points_here_is_not_ours() {
        for other in
            ["evil.example", "localhost.evil.example", "broker.example.evil.example", "127.0.0.1.evil.example:8083", "", ":"]
        {
            assert_eq!(judged(&[("host", other)]), Err(421), "{other}");
        }
        assert_eq!(judged(&[]), Err(400));
        assert_eq!(judged(&[("host", "localhost"), ("host", "evil.example")]), Err(400));
    }

    #[test]
    fn pages_of_other_sites_get_nothing() {
        let host = ("host", "localhost:8083");
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:8084"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(judged(&[host, (name, value)]), Err(403), "{name}: {value}");
        }
        assert_eq!(judged(&[host, ("origin", "http://localhost:8083"), ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(judged(&[host, ("sec-fetch-site", "none")]), Ok(()), "typed by somebody");
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for local in ["127.0.0.1:8083", "localhost", "[::1]:1", "127.8.8.8"] {
            assert!(is_local_host(local), "{local}");
        }
        for other in ["10.0.0.1", "[fe80::1]:1", "broker.example", "localhost.example", ""] {
            assert!(!is_local_host(other), "{other}");
        }
    }
}
