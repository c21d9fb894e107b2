//! Takes the addresses that the broker listens on: exclusively, also against another columba.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::{
    config::{Access, Host, ListenAddress, Listener, Needed},
    error::StartError,
    holder,
};

/// Connections that the kernel keeps ready for `accept`, for each socket.
const BACKLOG: i32 = 4096;

/// A client that turned its keep-alive off and whose machine is gone says so to nobody: the system asks after so much silence, so often, and then lets go of it.
const PROBE_AFTER: Duration = Duration::from_mins(5);
const PROBE_EVERY: Duration = Duration::from_secs(30);
const PROBES: u32 = 4;

/// How often a free port is looked for that both families have.
const FREE_PORT_TRIES: usize = 16;

/// An address that is bound and not yet listening: taken, and nobody can connect.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Index of the listener in the configuration.
    pub(crate) listener: u16,
    /// The address with its real port.
    pub(crate) address: SocketAddr,
    socket: Socket,
}

/// Refuses listeners that others can reach while anyone may connect who reaches them, unless that is wanted.
pub(crate) fn check_reach(listeners: &[Listener], access: Access) -> Result<(), StartError> {
    if access == Access::Anyone {
        return Ok(());
    }
    for listener in listeners {
        let addresses = resolve(&listener.address)?;
        if !addresses.iter().all(|(address, _)| is_this_machine(address.ip())) {
            return Err(StartError::Reachable { listener: listener.address.clone() });
        }
    }
    Ok(())
}

/// Binds all addresses of all listeners.
pub(crate) fn reserve(listeners: &[Listener]) -> Result<Vec<Reserved>, StartError> {
    let mut reserved = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let index = u16::try_from(index).map_err(|_| StartError::TooManyListeners)?;
        reserved.extend(reserve_one(index, &listener.address)?);
    }
    Ok(reserved)
}

/// The sockets of the HTTP port, listening.
pub(crate) fn open_http(address: &ListenAddress) -> Result<Vec<std::net::TcpListener>, StartError> {
    let reserved = reserve_one(0, address)?;
    let opened: Result<Vec<_>, _> = reserved.into_iter().map(|reserved| reserved.open(1)).collect();
    Ok(opened?.into_iter().flatten().collect())
}

fn reserve_one(listener: u16, address: &ListenAddress) -> Result<Vec<Reserved>, StartError> {
    let wanted = resolve(address)?;
    let mut left = FREE_PORT_TRIES;
    loop {
        match reserve_all(listener, &wanted) {
            // The free port of the first family is taken in the second: another one.
            Err(StartError::Taken { .. }) if address.port == 0 && left > 0 => left -= 1,
            result => return result,
        }
    }
}

fn reserve_all(listener: u16, wanted: &[(SocketAddr, Needed)]) -> Result<Vec<Reserved>, StartError> {
    let mut reserved: Vec<Reserved> = Vec::new();
    for &(mut address, needed) in wanted {
        if let (0, Some(first)) = (address.port(), reserved.first()) {
            address.set_port(first.address.port());
        }
        match bind(address) {
            Ok((socket, address)) => reserved.push(Reserved { listener, address, socket }),
            Err(error) if needed == Needed::IfPossible && lacks_family(&error) => {
                tracing::info!(%address, %error, "no such address on this machine");
            }
            Err(error) => return Err(refused(address, error)),
        }
    }
    Ok(reserved)
}

/// Without `SO_REUSEPORT`: with it, a second broker of the same user would take half of the port unnoticed.
fn bind(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((socket, bound))
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` is IPv6 and nothing else; `*` is both, as two sockets.
        socket.set_only_v6(true)?;
    }
    // The port is free again at once after a stop, whatever connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Connections inherit it.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Reserved {
    /// Starts to listen, with one socket for each shard.
    ///
    /// The first socket listens before it shares its port, so of two brokers that start at the same moment one is refused.
    pub(crate) fn open(self, shards: u16) -> Result<Vec<std::net::TcpListener>, StartError> {
        let address = self.address;
        let open = || {
            self.socket.listen(BACKLOG)?;
            let mut sockets = Vec::with_capacity(usize::from(shards));
            if shards > 1 {
                self.socket.set_reuse_port(true)?;
            }
            for _ in 1..shards {
                let socket = new_socket(address)?;
                socket.set_reuse_port(true)?;
                socket.bind(&address.into())?;
                socket.listen(BACKLOG)?;
                sockets.push(socket.into());
            }
            sockets.push(self.socket.into());
            Ok(sockets)
        };
        open().map_err(|error| refused(address, error))
    }
}

fn refused(address: SocketAddr, error: io::Error) -> StartError {
    if error.kind() == io::ErrorKind::AddrInUse {
        StartError::Taken { address, holder: holder::of(address.port()) }
    } else {
        StartError::Listen { address, error }
    }
}

fn resolve(address: &ListenAddress) -> Result<Vec<(SocketAddr, Needed)>, StartError> {
    if let Host::Name(name) = &address.host {
        let found = (&**name, address.port).to_socket_addrs();
        let found = found.map_err(|error| StartError::UnknownHost { host: name.clone(), error })?;
        return Ok(found.map(|address| (address, Needed::Always)).collect());
    }
    let with_port = |(ip, needed)| (SocketAddr::new(ip, address.port), needed);
    Ok(address.host.addresses().into_iter().map(with_port).collect())
}

fn is_this_machine(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

/// The machine has no IPv6, or not on this interface.
fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error().is_some_and(|code| code == rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(text: &str) -> Listener {
        Listener { address: text.parse().unwrap(), max_connections: None, sync: None }
    }

    fn taken(result: &Result<Vec<Reserved>, StartError>) -> bool {
        matches!(result, Err(StartError::Taken { .. }))
    }

    #[test]
    fn an_open_port_cannot_be_had_again_also_by_one_who_would_share_it() {
        let first = reserve(&[listener("127.0.0.1:0")]).unwrap();
        let port = first[0].address.port();
        let again = [listener(&format!("127.0.0.1:{port}"))];
        let open: Vec<_> = first.into_iter().map(|reserved| reserved.open(4).unwrap()).collect();

        assert_eq!(open[0].len(), 4);
        assert!(taken(&reserve(&again)));
    }

    #[test]
    fn the_system_looks_whether_silent_clients_are_there() {
        let reserved = reserve(&[listener("127.0.0.1:0")]).unwrap().remove(0);
        let address = reserved.address;
        let sockets = reserved.open(1).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        sockets[0].set_nonblocking(false).unwrap();

        let (accepted, _) = sockets[0].accept().unwrap();

        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), PROBE_AFTER);
    }

    #[test]
    fn of_two_that_start_at_once_one_is_refused() {
        let mut first = reserve(&[listener("127.0.0.1:0")]).unwrap();
        let port = first[0].address.port();
        let mut second = reserve(&[listener(&format!("127.0.0.1:{port}"))]).unwrap();

        let first = first.remove(0).open(2);
        let second = second.remove(0).open(2);

        assert!(first.is_ok());
        assert!(matches!(second, Err(StartError::Taken { .. })), "{second:?}");
    }

    #[test]
    fn the_holder_of_a_taken_port_is_named() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();

        let error = reserve(&[listener(&address.to_string())]).unwrap_err().to_string();

        let me = std::process::id();
        assert!(error.starts_with(&format!("{address} is taken (pid {me}, ")), "{error}");
    }

    #[test]
    fn both_families_get_the_same_free_port() {
        let reserved = reserve(&[listener("localhost:0")]).unwrap();

        assert!(reserved.iter().all(|one| one.address.port() == reserved[0].address.port()));
        assert!(reserved.iter().all(|one| one.address.ip().is_loopback()));
    }

    #[test]
    fn a_reachable_listener_needs_a_word_of_permission() {
        for reachable in ["0.0.0.0:0", "*:0", "[::]:0"] {
            assert!(check_reach(&[listener(reachable)], Access::ThisMachine).is_err(), "{reachable}");
            assert!(check_reach(&[listener(reachable)], Access::Anyone).is_ok());
        }
        for local in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "localhost:0"] {
            assert!(check_reach(&[listener(local)], Access::ThisMachine).is_ok(), "{local}");
        }
    }
}
