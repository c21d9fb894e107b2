//! The options of TLS: which servers are good, and who we are.

use std::fs;
use std::path::Path;

use columba_client::{Roots, Tls, TlsSetupError};

use crate::args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::explain;

/// What connections are made with.
pub(crate) fn tls(args: &CommonArgs) -> Result<Tls, Failure> {
    let roots = if args.insecure {
        Roots::Anybody
    } else if let Some(file) = &args.cafile {
        Roots::Pem(read(file)?)
    } else if let Some(directory) = &args.capath {
        Roots::Pem(certificates_in(directory)?)
    } else {
        Roots::System
    };
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        (Some(_), None) => {
            return Err(Failure::usage("--cert needs the key that goes with it").try_this("--cert FILE --key FILE"));
        }
        (None, Some(_)) => {
            return Err(Failure::usage("--key needs the certificate that it goes with").try_this("--cert FILE --key FILE"));
        }
        (None, None) => None,
    };
    let identity = identity.as_ref().map(|(chain, key)| (chain.as_slice(), key.as_slice()));
    Tls::new(&roots, identity).map_err(|error| match &error {
        TlsSetupError::NoSystemRoots => Failure::new(Exit::Tls, error.to_string()).try_this("--cafile ca.pem"),
        TlsSetupError::Roots(_) | TlsSetupError::Identity(_) => Failure::new(Exit::Usage, error.to_string()),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::usage(format!("cannot read {}: {}", file.display(), explain::io(&error))))
}

/// All `.pem` and `.crt` files of a directory: those that OpenSSL's hashes point to.
fn certificates_in(directory: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |error: std::io::Error| Failure::usage(format!("cannot read {}: {}", directory.display(), explain::io(&error)));
    let mut text = Vec::new();
    let mut files: Vec<_> = fs::read_dir(directory).map_err(cannot)?.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    files.sort_by_key(fs::DirEntry::path);
    for file in files {
        let path = file.path();
        if path.extension().is_some_and(|ending| ending == "pem" || ending == "crt") {
            text.extend(read(&path)?);
            text.push(b'\n');
        }
    }
    Ok(text)
}
