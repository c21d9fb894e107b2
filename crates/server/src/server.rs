//! Start and stop: everything in its order.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::AtomicUsize,
        mpsc::{self, Receiver, Sender},
    },
    time::Instant,
};

use columba_broker::{
    Shard,
    auth::{self, Answer, Login},
    durable::State,
    id::{Clock, ConnectionId, ShardId},
    limits,
    placement::Placement,
    retained::RetainedStore,
    route::Strategies,
    seam::{Commons, Cx},
};
use columba_proto::{Time, scram::Secret};
use thiserror::Error;

use crate::{
    admin::{Cold, Live, Plane, Shards},
    banner::{Banner, Recovered},
    certificates, checkpoint,
    clock::ProcessClock,
    commons::Common,
    config::{Config, ConfigError, Data, Http, Listener, OnFailure, Wanted},
    core::{Bounds, Door, DoorBounds, Doorkeeper, Ledger, Mail, Mesh, Progress, Shared, Shell, Worker, polls},
    durability::{self, Plan},
    entrance::Entrance,
    error::StartError,
    interfaces,
    listen::{self, ListeningAt},
    listeners::{Listeners, NotTaken, certificates_of, terms_of},
    loader, notify,
    policy::Policy,
    pressure, process,
    reload::{self, Askers},
    room::Space,
    signals,
    store::{Opened, Store},
    tokens::{Tokens, TokensError},
    users::{Attempts, Court, Judges},
    watch::Watch,
};

/// A broker that can be started.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A broker that runs, until it is stopped or dropped.
pub struct Running {
    banner: Banner,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    loader: Option<loader::Thread>,
    store: Option<Store>,
    /// Gone as soon as there are no shards to be asked.
    plane: Option<Plane>,
    watch: Watch,
    listeners: Listeners,
    /// Where the HTTP port is; nowhere where there is none.
    http: Vec<SocketAddr>,
    pressure: pressure::Watch,
    /// What is in force, and the part of it that shards have.
    config: Config,
    limits: Arc<limits::Config>,
    policy: Policy,
    /// Where nonces come from.
    secret: Arc<Secret>,
    words: Receiver<Word>,
    speaker: Sender<Word>,
}

/// Why another configuration is not taken: a listener or the HTTP port cannot be had as it is wanted, or a file that it names not be read. Nothing has changed.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ReloadError(#[from] Obstacle);

/// What keeps another configuration from being taken.
#[derive(Debug, Error)]
enum Obstacle {
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

impl From<StartError> for Obstacle {
    fn from(error: StartError) -> Self {
        Self::NotTaken(error.into())
    }
}

/// What reaches the thread that waits for the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// A signal asks for a stop.
    Stop,
    /// A signal asks to look at the files again.
    Reload,
    /// A signal asks to write what there is, as mosquitto's does.
    Checkpoint,
    /// A signal asks how it is going.
    Tell,
    /// A worker ended by itself.
    Broken,
    /// The journal cannot be written any more.
    JournalFailed,
}

/// Why a broker ended by itself.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Failure {
    /// A bug or the system ended an event loop; what is on disk is safe.
    #[error("an event loop ended; see the log")]
    Broken,
    /// The journal cannot be written any more, and the configuration says to leave then.
    #[error("the journal failed (see the log); everything acknowledged is on disk. Look at the disk, then start again")]
    JournalFailed,
}

impl Server {
    /// Looks whether a broker would start with this configuration, as far as that can be known without taking its addresses and its data: everything that it names
    /// is read.
    ///
    /// # Errors
    ///
    /// Those of [`Server::start`].
    pub fn check(config: &Config) -> Result<(), StartError> {
        Policy::read(config, &Arc::default())?;
        doors(&config.listeners)?;
        config.listeners.iter().try_for_each(listen::check_host)
    }

    /// Starts a broker: the addresses are taken, the data is recovered, and only then does it listen.
    pub fn start(config: Config) -> Result<Running, StartError> {
        process::raise_descriptor_limit();
        process::use_small_pages();
        if config.is_mosquittos {
            process::warn_of_root();
        }
        for note in &config.notes {
            tracing::info!(note, "note on the configuration");
        }
        let attempts = Arc::new(Attempts::default());
        let policy = Policy::read(&config, &attempts)?;
        let doors = doors(&config.listeners)?;
        let secret = Arc::new(Secret::new(random_bytes()));
        let login = policy.login(Arc::clone(&secret), &attempts).map(|login| {
            let asks = |(door, listener): (&Arc<Door>, &Listener)| policy.methods.open(door.number, listener);
            Login { doors: doors.iter().zip(&config.listeners).map(asks).collect(), ..login }
        });
        let reserved = listen::reserve(&config.listeners)?;
        let http = open_http(&config.http)?;
        let http_addresses = addresses(&http);
        let system = |what| move |error: io::Error| StartError::System { what, error };
        let plane = Plane::start(&config, http, policy.key_set()).map_err(system("a thread"))?;
        let clock = ProcessClock::start();
        let began = Instant::now();
        let Opened { placement_key, lanes, state, store } = match &config.data {
            Data::Directory(path) => Opened::directory(path, config.on_damage, &config.limits)?,
            Data::Ephemeral => Opened::ephemeral(random_bytes()),
        };

        let shards = config.runtime.shards.clamp(1, lanes);
        let (polls, wakers) = polls(shards).map_err(system("an event loop"))?;
        let (speaker, words) = mpsc::channel();
        let (loader, load_orders) = loader::channel();
        let (checkpoints, checkpoint_orders) = checkpoint::channel();
        let placement = Placement::new(placement_key, lanes, shards);
        let sessions = state.sessions.len();
        let (common, state) = share(placement, state, config.shared.clone(), clock.now());
        let shared = Arc::new(Shared {
            clock,
            commons: common,
            mesh: Mesh::new(wakers),
            doorkeeper: Doorkeeper::new(&Bounds::of(&config)),
            listeners: Mutex::new(config.listeners.iter().map(|listener| listener.address.to_string()).collect()),
            certificates: Mutex::new(
                config.listeners.iter().zip(&doors).filter_map(|(listener, door)| certificates_of(listener, door)).collect(),
            ),
            loader,
            progress: Progress::new(usize::from(shards)),
            space: Space::default(),
            retained_cache: AtomicUsize::new(config.limits.retained_bytes),
            checkpoints,
            judges: Court::default(),
            attempts: Arc::clone(&attempts),
            reload: Askers::default(),
            words: speaker.clone(),
        });
        let plan = Plan::of(&config);
        if store.is_some() {
            durability::warn(&config);
        }
        let store = store.map(|store| store.start(&shared, &config, &plan, checkpoint_orders)).transpose()?;
        let loader = match &store {
            Some(store) => {
                Some(loader::Thread::start(load_orders, store.cold(), Arc::clone(&shared)).map_err(system("a thread"))?)
            }
            None => None,
        };

        let has_users = login.is_some();
        shared.judges.seat(judges(&policy, &shared).map_err(system("a thread"))?);
        let mut watched = policy.watched(&config, None, &shared);
        watched.extend(doors.iter().filter_map(|door| door.entrance.certificates()).flat_map(certificates::watched));
        let watch = Watch::start(watched).map_err(system("a thread"))?;
        let pressure = pressure::Watch::start(&shared).map_err(system("a thread"))?;
        let brain_config = Arc::new(limits::Config {
            written_listeners: plan.written_listeners.clone(),
            listeners: terms_of(&config.listeners),
            login,
            acl: policy.rules.as_ref().map(|rules| Arc::clone(&rules.acl)),
            ..config.limits.clone()
        });
        let mut shells = Vec::new();
        for (index, poll) in polls.into_iter().enumerate() {
            let id = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
            let brain = Shard::new(id, Arc::clone(&brain_config), random());
            let ledger = store.as_ref().map_or(Ledger::Ephemeral, |store| Ledger::Journal(store.appender(id.0), plan.waits));
            shells.push(Shell::new(Arc::clone(&shared), poll, brain, index, ledger));
        }
        restore(&mut shells, &shared, state);
        let took = began.elapsed();
        let mut retained = 0;
        shared.commons.read_retained(&mut |store| retained = store.len());

        let mut places: Vec<Vec<ListeningAt>> = vec![Vec::new(); doors.len()];
        for one in reserved {
            let listener = usize::from(one.listener);
            places[listener].push(one.place.clone());
            for (shell, socket) in shells.iter_mut().zip(one.open(shards)?) {
                shell.listen(socket, Arc::clone(&doors[listener])).map_err(system("a listener"))?;
            }
        }
        let mut listeners = Listeners::new(&plan, &config.listeners);
        for ((listener, door), places) in config.listeners.iter().zip(doors).zip(places) {
            listeners.opened(listener, door, places);
        }
        let workers = spread(shells, config.runtime.workers, &speaker).map_err(system("a thread"))?;
        plane.goes_live(Live {
            shards: Shards::new(Arc::clone(&shared)),
            recovery: took,
            journal: store.as_ref().map(Store::watch),
            cold: store.as_ref().map(|store| Cold(store.cold())),
            files: watch.files(),
        });
        let banner = Banner {
            data: config.data.clone(),
            access: config.access,
            has_users,
            places: listeners.places().cloned().collect(),
            http: http_addresses.clone(),
            recovered: Recovered { sessions, retained, took },
            here: interfaces::addresses(),
        };
        let limits = brain_config;
        Ok(Running {
            banner,
            shared,
            workers,
            loader,
            store,
            plane: Some(plane),
            watch,
            listeners,
            http: http_addresses,
            pressure,
            config,
            limits,
            policy,
            secret,
            words,
            speaker,
        })
    }
}

impl Running {
    /// Where it listens on ports, as they really are.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addresses().collect()
    }

    /// Where it listens.
    pub fn listening_at(&self) -> Vec<ListeningAt> {
        self.listeners.places().cloned().collect()
    }

    /// Where its HTTP port is, if it has one.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        &self.http
    }

    /// What came back from disk, and how fast.
    pub fn recovered(&self) -> Recovered {
        self.banner.recovered
    }

    /// What to say to whoever started it.
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Listens to signals from now on, for [`until_signalled`](Self::until_signalled): to be called before anybody is told that the broker runs.
    pub fn heed_signals(&self) {
        if let Err(error) = signals::listen(self.speaker.clone()) {
            tracing::error!(%error, "cannot listen to signals; they end the process at once");
        }
    }

    /// Runs until SIGTERM or SIGINT, then stops. A second signal ends the process at once. SIGUSR1 asks for a checkpoint, at SIGUSR2 the log says how it is going. At SIGHUP, or when somebody asks at the control socket, `read` gives
    /// the configuration that is to be in force from then on.
    pub fn until_signalled(mut self, mut read: impl FnMut() -> Result<Config, ConfigError>) -> Result<(), Failure> {
        notify::ready(&self.banner.to_string());
        let failure = loop {
            match self.words.recv() {
                Ok(Word::Stop) => break None,
                Ok(Word::Reload) => {
                    let outcome = read()
                        .map_err(|error| error.to_string())
                        .and_then(|next| self.reload(next).map_err(|error| error.to_string()));
                    if let Err(error) = &outcome {
                        tracing::error!(%error, "the configuration is not taken: what it said before stays in force");
                    }
                    self.shared.reload.tell(&outcome);
                }
                Ok(Word::Checkpoint) => {
                    tracing::info!("a checkpoint is asked for");
                    self.shared.checkpoints.hurry();
                }
                Ok(Word::Tell) => {
                    if let Some(plane) = &self.plane {
                        plane.tell_status();
                    }
                }
                Ok(Word::Broken) | Err(_) => break Some(Failure::Broken),
                Ok(Word::JournalFailed) if self.config.durability.on_failure == OnFailure::Exit => {
                    break Some(Failure::JournalFailed);
                }
                Ok(Word::JournalFailed) => {}
            }
        };
        tracing::info!("stopping");
        if let Some(plane) = &self.plane {
            plane.drains();
        }
        notify::stopping();
        match failure {
            // What the other shards promise would still hold, but the clients of the broken one hang: let them come back.
            Some(Failure::Broken) => {
                std::mem::forget(self);
                Err(Failure::Broken)
            }
            Some(Failure::JournalFailed) => {
                self.stop();
                Err(Failure::JournalFailed)
            }
            None => {
                self.stop();
                Ok(())
            }
        }
    }

    /// Puts another configuration in force, and reads the files again that it names: those in whom something is wrong stay as they were, and the log says so.
    /// The answer, and the log, name the keys that wait for the next start.
    ///
    /// # Errors
    ///
    /// Where a listener or the HTTP port cannot be had as it is wanted, or a file that is named not be read; nothing has changed then.
    pub fn reload(&mut self, next: Config) -> Result<Vec<&'static str>, ReloadError> {
        Ok(self.take(next)?)
    }

    fn take(&mut self, next: Config) -> Result<Vec<&'static str>, Obstacle> {
        let policy = self.policy.next(&self.config, &next, &self.shared.attempts)?;
        let http = self.prepare_http(&next.http)?;
        let ready = self.listeners.prepare(&next.listeners, self.config.durability.sync, &self.shared)?;
        let has_other_ways = !Arc::ptr_eq(&policy.methods, &self.policy.methods);
        let judges = has_other_ways.then(|| judges(&policy, &self.shared)).transpose();
        let judges = judges.map_err(|error| StartError::System { what: "a thread", error })?;
        // From here on nothing fails.
        let before = std::mem::replace(&mut self.policy, policy);
        let change = self.listeners.change(ready, &self.shared);
        self.limits = Arc::new(limits::Config { login: self.doors(), ..(*self.limits).clone() });
        let mut watched = self.policy.watched(&next, Some(&before), &self.shared);
        // Who may come in is known everywhere before the first one comes through a new listener.
        if let Some(judges) = judges {
            self.shared.judges.seat(judges);
        }
        if let Some(store) = &self.store {
            store.has_limits(next.disk);
        }
        let waiting = reload::apply(&self.shared, &mut self.config, &mut self.limits, &self.listeners, next);
        self.tell_policy(&before, &waiting);
        self.move_http(http);
        // What it named is not looked at any more.
        drop(before);
        // Of those that stay the files may say something else, too.
        self.watch.look_now();
        watched.extend(change.carry_out(&self.shared));
        if let Some(fetched) = self.policy.methods.fetched() {
            fetched.fetch_now();
        }
        if let Err(error) = self.watch.add(watched) {
            tracing::error!(%error, "the files of new listeners and ways to log in are not read again when they change");
        }
        if waiting.is_empty() {
            tracing::info!("configuration read again");
        } else {
            tracing::warn!(keys = waiting.join(" "), "configuration read again; these keys wait for the next start");
        }
        Ok(waiting)
    }

    /// The sockets of the HTTP port, where they are not those that are open. A file of tokens that cannot be read would let nobody in.
    fn prepare_http(&self, next: &Http) -> Result<Option<Vec<TcpListener>>, Obstacle> {
        let now = &self.config.http;
        if let Some(path) = next.tokens_file.as_ref().filter(|_| next.tokens_file != now.tokens_file) {
            Tokens::read(path)?;
        }
        // Where the port was taken when nobody had asked for it, it may be free by now.
        let is_open = !self.http.is_empty();
        if next.address == now.address && is_open == next.address.is_some() {
            return Ok(None);
        }
        Ok(Some(open_http(next)?))
    }

    /// Whoever asks comes to these sockets from now on.
    fn move_http(&mut self, sockets: Option<Vec<TcpListener>>) {
        let (Some(sockets), Some(plane)) = (sockets, &self.plane) else { return };
        let before = std::mem::replace(&mut self.http, addresses(&sockets));
        for address in before {
            tracing::info!(%address, "HTTP port closed");
        }
        for address in &self.http {
            tracing::info!(%address, "HTTP port opened");
        }
        plane.opens(sockets);
    }

    /// What each listener asks of those who come in, by their numbers.
    fn doors(&self) -> Option<Login> {
        let mut login = self.policy.login(Arc::clone(&self.secret), &self.shared.attempts);
        for (number, listener) in self.listeners.numbered() {
            let door = self.policy.methods.open(number, listener);
            if let Some(login) = &mut login {
                let room = usize::from(number) + 1;
                if login.doors.len() < room {
                    login.doors.resize(room, auth::Door::default());
                }
                login.doors[usize::from(number)] = door;
            }
        }
        login
    }

    /// Tells everybody else who may come in and what they may do. Shards know the ways in already.
    fn tell_policy(&self, before: &Policy, waiting: &[&'static str]) {
        for shard in 0..self.shared.mesh.len() {
            if self.policy.has_other_rules_than(before) {
                let acl = self.policy.rules.as_ref().map(|rules| Arc::clone(&rules.acl));
                self.shared.mesh.post_one(shard, Mail::Acl(acl));
            }
            self.shared.mesh.post_one(shard, Mail::UsersChanged);
        }
        if let Some(plane) = &self.plane {
            plane.has_other_config(&self.config, waiting, self.policy.key_set());
        }
    }

    /// Sends everyone away, writes what is to be written, and gives ports and directory free.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        self.watch.stop();
        self.pressure.stop();
        if let Some(plane) = &self.plane {
            plane.drains();
        }
        self.shared.reload.close();
        for shard in 0..self.shared.mesh.len() {
            self.shared.mesh.post_one(shard, Mail::Shutdown);
        }
        for worker in self.workers.drain(..) {
            worker.join();
        }
        drop(self.plane.take());
        self.listeners.tidy_up();
        if let Some(loader) = self.loader.take() {
            loader.stop(&self.shared.loader);
        }
        if let Some(store) = self.store.take() {
            store.stop();
        }
        tracing::info!("stopped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("banner", &self.banner).finish_non_exhaustive()
    }
}

/// A way in for each listener, by their order.
fn doors(listeners: &[Listener]) -> Result<Vec<Arc<Door>>, StartError> {
    let door = |(index, listener): (usize, &Listener)| {
        let number = u16::try_from(index).map_err(|_| StartError::TooManyListeners)?;
        Ok(Arc::new(Door::new(number, Entrance::new(listener)?, DoorBounds::of(listener))))
    };
    listeners.iter().enumerate().map(door).collect()
}

/// The HTTP port. Where nobody asked for it and its place is taken, there is none.
fn open_http(http: &Http) -> Result<Vec<TcpListener>, StartError> {
    let Some(address) = &http.address else { return Ok(Vec::new()) };
    match (listen::open_http(address), http.wanted) {
        (Ok(sockets), _) => Ok(sockets),
        (Err(error @ (StartError::Taken { .. } | StartError::Listen { .. })), Wanted::IfFree) => {
            tracing::warn!(%error, "no HTTP port; --http takes another one, or off");
            Ok(Vec::new())
        }
        (Err(error), _) => Err(error),
    }
}

fn addresses(sockets: &[TcpListener]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
}

/// The part of the recovered state that all shards share, and the rest.
fn share(placement: Placement, mut state: State, strategies: Strategies, now: Time) -> (Common, State) {
    let clock = Clock::default();
    clock.seen(state.highest);
    let mut retained = RetainedStore::default();
    for (topic, (id, kept)) in std::mem::take(&mut state.retained) {
        if !kept.is_expired(now) {
            retained.restore(topic, id, kept);
        }
    }
    (Common::new(clock, placement, retained, random(), strategies), state)
}

/// Gives every session to the shard that owns its client. The filter index fills on the way.
fn restore(shells: &mut [Shell], shared: &Shared, state: State) {
    let cx = Cx { now: shared.clock.now(), commons: &shared.commons };
    let owner = |client_id: &str| {
        let placement = cx.commons.placement();
        usize::from(placement.shard(placement.lane(client_id)).0)
    };
    for session in state.sessions.into_values() {
        shells[owner(&session.client_id)].brain().restore(&cx, session);
    }
    // Last, for the members are back now: what a group without any has is dropped.
    for (no, group) in state.groups {
        let owner = usize::from(cx.commons.placement().shard(no.lane()).0);
        shells[owner].brain().restore_group(&cx, no, group);
    }
    for will in state.wills.into_values() {
        shells[owner(&will.client_id)].brain().restore_will(&cx, will);
    }
}

/// Deals the shards out to the workers.
fn spread(shells: Vec<Shell>, workers: u16, speaker: &Sender<Word>) -> io::Result<Vec<Worker>> {
    let count = usize::from(workers).clamp(1, shells.len());
    let mut hands: Vec<Vec<Shell>> = (0..count).map(|_| Vec::new()).collect();
    for (index, shell) in shells.into_iter().enumerate() {
        hands[index % count].push(shell);
    }
    hands.into_iter().enumerate().map(|(index, hand)| Worker::start(index, hand, speaker.clone())).collect()
}

/// Chance from the system, without a file: what the standard library seeds its maps with.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The same for more than eight bytes.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for eight in bytes.chunks_mut(8) {
        eight.copy_from_slice(&random().to_ne_bytes()[..eight.len()]);
    }
    bytes
}

/// Those who look at what clients show, where there is anything to look at.
fn judges(policy: &Policy, shared: &Arc<Shared>) -> io::Result<Option<Judges>> {
    let start = || Judges::start(Arc::clone(&policy.methods), shared.clock, Arc::clone(&shared.attempts), answers(shared));
    (!policy.methods.is_empty()).then(start).transpose()
}

/// How an answer gets to the shard that has asked, as long as there is one.
fn answers(shared: &Arc<Shared>) -> impl Fn(usize, ConnectionId, Answer) + Clone + Send + use<> {
    let shared = Arc::downgrade(shared);
    move |shard, connection, answer| {
        if let Some(shared) = shared.upgrade() {
            shared.mesh.post_one(shard, Mail::Answered(connection, answer));
        }
    }
}
