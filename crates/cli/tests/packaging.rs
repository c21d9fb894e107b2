//! What packages bring along: the unit, the container's start, the assets of the Debian package.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write as _},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use columba_check::outside;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// A broker that is killed with its test.
struct Running(Child);

impl Running {
    fn terminate(&mut self) {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        assert!(self.0.wait().unwrap().success());
    }

    /// The lines of its banner up to the one with an address.
    fn port(&mut self) -> String {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.into_iter().find(|line| line.contains("mqtt://")).unwrap();
        line.split_once("127.0.0.1:").unwrap().1.split_whitespace().next().unwrap().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// The program and the words of a command of the unit.
fn command_of(unit: &str, key: &str) -> Vec<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap();
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    assert_eq!(words[0], "/usr/bin/columba");
    words.into_iter().skip(1).map(|word| word.replace("/etc/columba", &root().join("packaging").display().to_string())).collect()
}

#[test]
fn the_unit_gives_the_broker_what_it_needs_and_little_more() {
    let name = "the_unit_gives_the_broker_what_it_needs_and_little_more";
    let Some(analyze) = outside::or_skip(outside::program("systemd-analyze"), name, "systemd-analyze") else { return };
    let unit = root().join("packaging/systemd/columba.service");

    let judged =
        Command::new(analyze).args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit).output().unwrap();

    assert!(judged.status.success(), "{}{}", String::from_utf8_lossy(&judged.stdout), String::from_utf8_lossy(&judged.stderr));
}

#[test]
fn the_unit_starts_with_the_packages_configuration_and_hears_of_start_and_stop_and_that_all_is_well() {
    let unit = read("packaging/systemd/columba.service");
    let checked = Command::new(COLUMBA).args(command_of(&unit, "ExecStartPre")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut words = command_of(&unit, "ExecStart");
    words.extend(["--ephemeral", "--listen", "127.0.0.1:0"].map(str::to_owned));
    let child = Command::new(COLUMBA)
        .args(words)
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut broker = Running(child);
    let hear = || {
        let mut bytes = [0; 1024];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    };

    let mut heard = vec![hear()];
    while heard.iter().filter(|it| *it == "WATCHDOG=1\n").count() < 3
        || !heard.iter().any(|it| it.starts_with("READY=1\nSTATUS=columba "))
    {
        heard.push(hear());
        assert!(heard.len() < 1_000, "{heard:?}");
    }
    let mut client = TcpStream::connect(format!("127.0.0.1:{}", broker.port())).unwrap();
    client.write_all(b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01c").unwrap();
    while heard.last().unwrap() != "STATUS=1 client, 0 msg/s in, 0 msg/s out\n" {
        heard.push(hear());
        assert!(heard.len() < 1_000, "{heard:?}");
    }
    broker.terminate();
    while !hear().starts_with("STOPPING=1\n") {}
}

/// Starts what the image starts, in a directory of its own.
fn start_container(data: &Path, more: &[(&str, &str)]) -> Command {
    let bin = data.join("bin");
    if !bin.exists() {
        fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(COLUMBA, bin.join("columba")).unwrap();
    }
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .arg(root().join("packaging/docker/entrypoint.sh"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.join("data"))
        .env_remove("COLUMBA_PASSWORD")
        .env("PATH", path)
        .env("COLUMBA_DATA", data)
        .envs(more.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_container_without_instructions_makes_a_password_once_and_lets_nobody_in_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Running(start_container(dir.path(), &[]).spawn().unwrap());
    let mut told = String::new();
    BufReader::new(first.0.stderr.take().unwrap()).read_line(&mut told).unwrap();
    let password = told.split(" is ").nth(1).unwrap_or_else(|| panic!("{told}")).split(' ').next().unwrap().to_owned();
    assert_eq!(password.len(), 24, "{told}");
    first.port();
    first.terminate();

    let mut second = Running(start_container(dir.path(), &[]).stderr(Stdio::null()).spawn().unwrap());
    let port = second.port();
    let publish = |more: &[&str]| {
        let words = [&["pub", "-p", &port, "-t", "t", "-m", "x", "-q", "1"], more].concat();
        Command::new(COLUMBA).args(words).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(publish(&["-u", "columba", "-P", &password]), Some(0));
    assert_eq!(publish(&["-u", "columba", "-P", "guess"]), Some(5));
    let users = fs::read_to_string(dir.path().join("users")).unwrap();
    assert!(!users.contains(&password), "only its hash is kept");
}

#[test]
fn a_container_that_is_told_so_lets_anyone_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker =
        Running(start_container(dir.path(), &[("COLUMBA_ALLOW_ANONYMOUS", "1")]).stderr(Stdio::null()).spawn().unwrap());
    let port = broker.port();

    let sent = Command::new(COLUMBA).args(["pub", "-p", &port, "-t", "t", "-m", "x", "-q", "1"]).status().unwrap();
    assert!(sent.success());
    assert!(!dir.path().join("users").exists());
}

#[test]
fn what_the_image_copies_and_starts_is_there() {
    let dockerfile = read("packaging/docker/Dockerfile");
    let own = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
    for line in own {
        let from = line.split(' ').next().unwrap();
        assert!(root().join(from).exists(), "{line}");
    }
    let words: Vec<&str> = dockerfile.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap().split('"').collect();
    assert_eq!(words[1], "serve");
    assert!(dockerfile.contains("ENTRYPOINT [\"/usr/bin/columba-entrypoint\"]"));
}

#[test]
fn the_image_is_built_from_sources_alone() {
    let ignored = read(".dockerignore");
    let ignored: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();

    assert!(ignored.contains(&"**/target") && ignored.contains(&"/.git"), "{ignored:?}");
    // What the build needs is not among it.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap().to_owned());
    let copied = read("packaging/docker/Dockerfile");
    let copied = copied.lines().filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next().map(str::to_owned));
    for path in members.chain(copied).chain(["Cargo.lock".to_owned()]) {
        let is_in = |pattern: &&&str| path.starts_with(pattern.trim_start_matches('/'));
        assert_eq!(ignored.iter().find(is_in), None, "{path}");
    }
}

/// The words of a command of a shell that is in this directory.
fn words_of(command: &str, dir: &Path) -> Vec<String> {
    let print = format!("for word in {command}; do printf '%s\\n' \"$word\"; done");
    let output = Command::new("sh").args(["-c", &print]).current_dir(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What stands in the guide about a container: `docker run`, without the engine. Volumes become what is mounted there.
#[test]
fn the_container_of_the_guide_starts_as_printed_and_lets_its_user_in() {
    let guide = read("docs/installing.md").replace("\\\n", " ");
    let runs: Vec<&str> = guide.lines().filter(|line| line.starts_with("docker run ")).collect();
    assert!(runs.len() >= 2, "{runs:?}");
    for run in runs {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mqtt-password"), "rook\n").unwrap();
        let words = words_of(run, dir.path());
        assert_eq!(words.last().unwrap(), "columba", "{run}");
        let after = |option: &str| -> Vec<String> {
            words.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].clone()).collect()
        };
        let mounts: Vec<(String, String)> = after("-v")
            .iter()
            .filter_map(|volume| volume.trim_end_matches(":ro").split_once(':'))
            .map(|(from, to)| (to.to_owned(), from.to_owned()))
            .collect();
        let variables: Vec<(String, String)> = after("-e")
            .iter()
            .map(|variable| variable.split_once('=').unwrap())
            .map(|(name, value)| {
                let mounted = mounts.iter().find(|(to, _)| to == value).map_or(value, |(_, from)| from);
                (name.to_owned(), mounted.to_owned())
            })
            .collect();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();

        let mut broker = Running(start_container(dir.path(), &variables).spawn().unwrap());
        let mut told = String::new();
        BufReader::new(broker.0.stderr.take().unwrap()).read_line(&mut told).unwrap();
        let port = broker.port();

        let (user, password) = match variables.iter().find(|(name, _)| *name == "COLUMBA_USER") {
            Some((_, user)) => (*user, "rook"),
            None => ("columba", told.split(" is ").nth(1).unwrap().split(' ').next().unwrap()),
        };
        let sent = Command::new(COLUMBA)
            .args(["pub", "-p", &port, "-t", "t", "-m", "x", "-q", "1", "-u", user, "-P", password])
            .status()
            .unwrap();
        assert!(sent.success(), "{run}");
    }
}

#[test]
fn the_debian_package_finds_its_assets() {
    let manifest: toml::Table = read("crates/cli/Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let here = root().join("crates/cli");
    let mut found = 0;
    for asset in deb["assets"].as_array().unwrap() {
        let from = asset[0].as_str().unwrap();
        // What the build makes.
        if from.contains("target/") {
            continue;
        }
        let path = here.join(from.trim_end_matches("*.md"));
        assert!(path.exists(), "{from}");
        found += 1;
    }
    assert!(found >= 3);
    for script in ["postinst", "build"] {
        let path = root().join("packaging/debian").join(script);
        assert!(Command::new("bash").arg("-n").arg(path).status().unwrap().success(), "{script}");
    }
}

#[test]
fn what_the_guide_makes_of_mosquittos_configuration_is_one_for_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("mosquitto.conf"), dir.path().join("columba.toml"));
    // As Debian's package has it.
    fs::write(&from, "pid_file /run/mosquitto/mosquitto.pid\npersistence true\npersistence_location /var/lib/mosquitto/\n")
        .unwrap();
    let guide = read("docs/from-mosquitto.md");
    let steps =
        guide.lines().filter(|line| line.starts_with("columba config import ") && line.contains('>') || line.starts_with("sed "));
    let steps: Vec<String> = steps
        .map(|line| {
            line.replace("/etc/mosquitto/mosquitto.conf", "mosquitto.conf").replace("/etc/columba/columba.toml", "columba.toml")
        })
        .collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    let path = format!("{}:{}", Path::new(COLUMBA).parent().unwrap().display(), env::var("PATH").unwrap());

    for step in &steps {
        let mut shell = Command::new("sh");
        shell.args(["-c", step]).current_dir(dir.path()).env("PATH", &path).stderr(Stdio::null());
        assert!(shell.status().unwrap().success(), "{step}");
    }

    let made: toml::Table = fs::read_to_string(to).unwrap().parse().unwrap();
    let unit = read("packaging/systemd/columba.service");
    let writable = unit.lines().find_map(|line| line.strip_prefix("StateDirectory=")).unwrap();
    assert_eq!(made["data_dir"].as_str(), Some(&*format!("/var/lib/{writable}")));
}

/// Whose a file is, and what they may do with it.
#[derive(Debug)]
struct Installed {
    owner: String,
    group: String,
    mode: u32,
}

impl Installed {
    fn by_dpkg(mode: &str) -> Self {
        Self { owner: "root".into(), group: "root".into(), mode: u32::from_str_radix(mode, 8).unwrap() }
    }
}

/// What the package's script says to the system when it is configured, in the words of its commands.
fn configured(dir: &Path) -> String {
    let said = dir.join("said");
    for name in ["chown", "chmod", "systemd-sysusers", "adduser"] {
        // A shell writes it: what this process has open for writing another test's child could inherit, and then nobody could execute it (ETXTBSY).
        let line = format!(r#"echo {name} "$@" >> {}"#, said.display());
        let writing = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let written = Command::new("sh").args(["-c", writing, "sh", &line]).arg(dir.join(name)).status().unwrap();
        assert!(written.success());
    }
    let path = format!("{}:{}", dir.display(), env::var("PATH").unwrap());
    let script = root().join("packaging/debian/postinst");
    assert!(Command::new("sh").arg(script).arg("configure").env("PATH", path).status().unwrap().success());
    fs::read_to_string(said).unwrap()
}

#[test]
fn the_packaged_service_can_read_its_configuration_and_others_cannot() {
    let manifest: toml::Table = read("crates/cli/Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap().clone();
    let ours = assets.iter().map(|asset| (format!("/{}", asset[1].as_str().unwrap()), asset[2].as_str().unwrap().to_owned()));
    let mut files: BTreeMap<String, Installed> =
        ours.filter(|(path, _)| path.starts_with("/etc/")).map(|(path, mode)| (path, Installed::by_dpkg(&mode))).collect();
    files.insert("/etc/columba".into(), Installed::by_dpkg("755"));
    let dir = tempfile::tempdir().unwrap();

    for line in configured(dir.path()).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let paths = words.get(2..).unwrap_or_default();
        match words[0] {
            "chown" => {
                let (owner, group) = words[1].split_once(':').unwrap();
                for &path in paths {
                    let file = files.get_mut(path).unwrap();
                    (file.owner, file.group) = (owner.to_owned(), group.to_owned());
                }
            }
            "chmod" => {
                for &path in paths {
                    files.get_mut(path).unwrap().mode = u32::from_str_radix(words[1], 8).unwrap();
                }
            }
            _ => {}
        }
    }

    let unit = read("packaging/systemd/columba.service");
    assert!(unit.contains("\nUser=columba\nGroup=columba\n"));
    assert!(files.contains_key("/etc/columba/columba.toml"));
    for (path, file) in &files {
        assert!(file.owner == "root" && file.group == "columba", "{path}: {file:?}: the service cannot read it");
        assert!(file.mode & 0o047 == 0o040, "{path}: {file:?}: the service reads it, and nobody else");
    }
}
