//! Takes the addresses that the broker listens on: exclusively, also against another columba.

use std::{
    fmt,
    fs::{self, Permissions},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::{
    config::{Access, Host, HostPort, Interface, ListenAddress, Listener, Needed, Scheme},
    core::Listening,
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
    /// Where, with the real port.
    pub(crate) place: ListeningAt,
    /// The only network interface through which connections come.
    interface: Option<Interface>,
    socket: Socket,
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListeningAt {
    /// On a port.
    Port(Scheme, SocketAddr),
    /// At a path.
    Path(PathBuf),
}

impl ListeningAt {
    /// The address, where it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Port(_, address) => Some(*address),
            Self::Path(_) => None,
        }
    }

    /// Whether nobody but this machine gets there.
    pub(crate) fn is_local(&self) -> bool {
        self.address().is_none_or(|address| is_this_machine(address.ip()))
    }
}

impl fmt::Display for ListeningAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(scheme, address) => write!(f, "{}://{address}", scheme.name()),
            Self::Path(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Refuses listeners that others can reach while anyone may connect who reaches them, unless that is wanted.
pub(crate) fn check_reach(listeners: &[Listener], access: Access) -> Result<(), StartError> {
    if access == Access::Anyone {
        return Ok(());
    }
    for listener in listeners {
        let ListenAddress::Net { host, port, .. } = &listener.address else { continue };
        // Who has a certificate of our authority has shown who it is; and where it is said who may come in, that was meant.
        if listener.is_guarded() || listener.auth.is_some() {
            continue;
        }
        let addresses = resolve(host, *port)?;
        if !addresses.iter().all(|(address, _)| is_this_machine(address.ip())) {
            return Err(StartError::Reachable { listener: listener.address.clone() });
        }
    }
    Ok(())
}

/// Looks whether its host has an address, and whether its network interface is there and may be taken alone.
pub(crate) fn check_host(listener: &Listener) -> Result<(), StartError> {
    listener.interface.as_ref().map_or(Ok(()), check_interface)?;
    match &listener.address {
        ListenAddress::Net { host, port, .. } => resolve(host, *port).map(drop),
        ListenAddress::Unix(_) => Ok(()),
    }
}

/// Binds all addresses of all listeners.
pub(crate) fn reserve(listeners: &[Listener]) -> Result<Vec<Reserved>, StartError> {
    let mut reserved = Vec::new();
    for (index, listener) in listeners.iter().enumerate() {
        let index = u16::try_from(index).map_err(|_| StartError::TooManyListeners)?;
        match &listener.address {
            ListenAddress::Net { scheme, host, port } => {
                let interface = listener.interface.as_ref();
                reserved.extend(reserve_port(index, *scheme, host, *port, interface)?);
            }
            ListenAddress::Unix(path) => reserved.push(reserve_path(index, path, listener.mode)?),
        }
    }
    Ok(reserved)
}

/// The sockets of the HTTP port, listening.
pub(crate) fn open_http(address: &HostPort) -> Result<Vec<std::net::TcpListener>, StartError> {
    let reserved = reserve_port(0, Scheme::Mqtt, &address.host, address.port, None)?;
    reserved.into_iter().map(Reserved::open_alone).collect()
}

/// A socket file that is there is taken where somebody listens at it, and left over where nobody does.
fn reserve_path(listener: u16, path: &Path, mode: u32) -> Result<Reserved, StartError> {
    let refused = |error| StartError::ListenAt { path: path.to_owned(), error };
    let reserve = || {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(socket)
    };
    let socket = reserve().map_err(refused)?;
    Ok(Reserved { listener, place: ListeningAt::Path(path.to_owned()), interface: None, socket })
}

fn reserve_port(
    listener: u16,
    scheme: Scheme,
    host: &Host,
    port: u16,
    interface: Option<&Interface>,
) -> Result<Vec<Reserved>, StartError> {
    interface.map_or(Ok(()), check_interface)?;
    let wanted = resolve(host, port)?;
    let mut left = FREE_PORT_TRIES;
    loop {
        match reserve_all(listener, scheme, &wanted, interface) {
            // The free port of the first family is taken in the second: another one.
            Err(StartError::Taken { .. }) if port == 0 && left > 0 => left -= 1,
            result => return result,
        }
    }
}

fn reserve_all(
    listener: u16,
    scheme: Scheme,
    wanted: &[(SocketAddr, Needed)],
    interface: Option<&Interface>,
) -> Result<Vec<Reserved>, StartError> {
    let mut reserved: Vec<Reserved> = Vec::new();
    for &(mut address, needed) in wanted {
        if let (0, Some(first)) = (address.port(), reserved.first().and_then(|first| first.place.address())) {
            address.set_port(first.port());
        }
        match bind(address, interface) {
            Ok((socket, address)) => {
                let place = ListeningAt::Port(scheme, address);
                reserved.push(Reserved { listener, place, interface: interface.cloned(), socket });
            }
            Err(error) if needed == Needed::IfPossible && lacks_family(&error) => {
                tracing::info!(%address, %error, "no such address on this machine");
            }
            Err(error) => return Err(refused(address, error)),
        }
    }
    Ok(reserved)
}

/// Without `SO_REUSEPORT`: with it, a second broker of the same user would take half of the port unnoticed.
fn bind(address: SocketAddr, interface: Option<&Interface>) -> io::Result<(Socket, SocketAddr)> {
    let socket = new_socket(address, interface)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((socket, bound))
}

fn new_socket(address: SocketAddr, interface: Option<&Interface>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(interface) = interface {
        bind_to(&socket, interface)?;
    }
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

/// Looks whether a socket may be bound to this network interface.
fn check_interface(interface: &Interface) -> Result<(), StartError> {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).and_then(|socket| bind_to(&socket, interface));
    bound.map_err(|error| {
        let interface = interface.clone();
        if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
            StartError::NoInterface { interface }
        } else {
            StartError::Interface { interface, error }
        }
    })
}

/// Only what comes through this network interface reaches the socket, whatever addresses that has now or later.
#[cfg(target_os = "linux")]
fn bind_to(socket: &Socket, interface: &Interface) -> io::Result<()> {
    socket.bind_device(Some(interface.name().as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_: &Socket, _: &Interface) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Reserved {
    /// Starts to listen, for one who asks nobody to share.
    fn open_alone(self) -> Result<std::net::TcpListener, StartError> {
        let listening = self.socket.listen(BACKLOG);
        let address = self.place.address().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        listening.map(|()| self.socket.into()).map_err(|error| refused(address, error))
    }

    /// Starts to listen, with one socket for each shard.
    ///
    /// The first socket listens before it shares its port, so of two brokers that start at the same moment one is refused.
    ///
    /// A path has one: the first shard accepts for all.
    pub(crate) fn open(self, shards: u16) -> Result<Vec<Listening>, StartError> {
        let address = match self.place {
            ListeningAt::Port(_, address) => address,
            ListeningAt::Path(path) => {
                self.socket.listen(BACKLOG).map_err(|error| StartError::ListenAt { path, error })?;
                return Ok(vec![Listening::Unix(mio::net::UnixListener::from_std(self.socket.into()))]);
            }
        };
        let open = || {
            self.socket.listen(BACKLOG)?;
            let mut sockets = Vec::with_capacity(usize::from(shards));
            if shards > 1 {
                self.socket.set_reuse_port(true)?;
            }
            for _ in 1..shards {
                let socket = new_socket(address, self.interface.as_ref())?;
                socket.set_reuse_port(true)?;
                socket.bind(&address.into())?;
                socket.listen(BACKLOG)?;
                sockets.push(listening(socket));
            }
            sockets.push(listening(self.socket));
            Ok(sockets)
        };
        open().map_err(|error| refused(address, error))
    }
}

fn listening(socket: Socket) -> Listening {
    Listening::Tcp(mio::net::TcpListener::from_std(socket.into()))
}

fn refused(address: SocketAddr, error: io::Error) -> StartError {
    if error.kind() == io::ErrorKind::AddrInUse {
        StartError::Taken { address, holder: holder::of(address.port()) }
    } else {
        StartError::Listen { address, error }
    }
}

fn resolve(host: &Host, port: u16) -> Result<Vec<(SocketAddr, Needed)>, StartError> {
    if let Host::Name(name) = host {
        let found = (&**name, port).to_socket_addrs();
        let found = found.map_err(|error| StartError::UnknownHost { host: name.clone(), error })?;
        return Ok(found.map(|address| (address, Needed::Always)).collect());
    }
    let with_port = |(ip, needed)| (SocketAddr::new(ip, port), needed);
    Ok(host.addresses().into_iter().map(with_port).collect())
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
        Listener::at(text.parse().unwrap())
    }

    fn address(reserved: &Reserved) -> SocketAddr {
        reserved.place.address().unwrap()
    }

    fn taken(result: &Result<Vec<Reserved>, StartError>) -> bool {
        matches!(result, Err(StartError::Taken { .. }))
    }

    #[test]
    fn an_open_port_cannot_be_had_again_also_by_one_who_would_share_it() {
        let first = reserve(&[listener("127.0.0.1:0")]).unwrap();
        let port = address(&first[0]).port();
        let again = [listener(&format!("127.0.0.1:{port}"))];
        let open: Vec<_> = first.into_iter().map(|reserved| reserved.open(4).unwrap()).collect();

        assert_eq!(open[0].len(), 4);
        assert!(taken(&reserve(&again)));
    }

    #[test]
    fn the_system_looks_whether_silent_clients_are_there() {
        let reserved = reserve(&[listener("127.0.0.1:0")]).unwrap().remove(0);
        let place = address(&reserved);
        let Listening::Tcp(socket) = reserved.open(1).unwrap().remove(0) else { panic!("a port") };
        let _client = std::net::TcpStream::connect(place).unwrap();
        let socket = socket2::SockRef::from(&socket);
        socket.set_nonblocking(false).unwrap();

        let (accepted, _) = socket.accept().unwrap();

        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), PROBE_AFTER);
    }

    #[test]
    fn of_two_that_start_at_once_one_is_refused() {
        let mut first = reserve(&[listener("127.0.0.1:0")]).unwrap();
        let port = address(&first[0]).port();
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

        assert!(reserved.iter().all(|one| address(one).port() == address(&reserved[0]).port()));
        assert!(reserved.iter().all(|one| address(one).ip().is_loopback()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_socket_of_a_listener_is_bound_to_its_interface() {
        let on = |interface: &str, url: &str| Listener { interface: Some(interface.parse().unwrap()), ..listener(url) };
        let reserved = match reserve(&[on("lo", "*:0")]) {
            Err(error @ StartError::Interface { .. }) => {
                let test = "every_socket_of_a_listener_is_bound_to_its_interface";
                return columba_check::outside::skip(test, &error.to_string());
            }
            reserved => reserved.unwrap(),
        };

        let port = address(&reserved[0]).port();
        let open: Vec<Listening> = reserved.into_iter().flat_map(|reserved| reserved.open(3).unwrap()).collect();

        for socket in &open {
            let Listening::Tcp(socket) = socket else { panic!("a port") };
            assert_eq!(socket2::SockRef::from(socket).device().unwrap().as_deref(), Some(b"lo".as_slice()));
        }
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(taken(&reserve(&[on("lo", &format!("*:{port}"))])));
        let nowhere = reserve(&[on("columba-nowhere", "*:0")]).unwrap_err();
        assert_eq!(nowhere.to_string(), "there is no network interface \"columba-nowhere\"");
        assert!(check_host(&on("columba-nowhere", "*:0")).is_err());
    }

    #[test]
    fn a_path_is_taken_by_who_listens_there_and_free_when_that_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("columba.sock");
        let own = Listener { mode: 0o600, ..listener(&format!("unix:{}", path.display())) };
        let first = reserve(std::slice::from_ref(&own)).unwrap().remove(0).open(4).unwrap();

        assert_eq!(first.len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(reserve(std::slice::from_ref(&own)), Err(StartError::ListenAt { .. })));
        drop(first);
        assert!(reserve(std::slice::from_ref(&own)).is_ok(), "what is left over is removed");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "no socket").unwrap();
        assert!(reserve(&[own]).is_err(), "another's file is not");
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
