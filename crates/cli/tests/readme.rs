//! Every `console` block of the README and of the guide in `docs` is run, and must print what stands there.
//!
//! A line that begins with `$ ` is a command, the lines below it are what it prints. `columba serve` runs until the end of the page,
//! until the next one or until `pkill -9 columba`, on a free port instead of the default one and with a home of its own; where the
//! page does not start a broker, there is one. Durations may differ. What lies in `/etc` and `/var` lies in a directory of the test,
//! and where a password is asked for, one is typed.
//!
//! Commands that cannot be run here stand in a block whose first line says what they need, behind the language, where a reader of the
//! page does not see it: ```` ```sh needs Docker ````. They are listed in [`NOT_RUN`].

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

use columba_check::load::free_port;
use columba_check::program::Program;
use tempfile::TempDir;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
const DEFAULT_PORT: &str = "1883";
const DEFAULT_HTTP_PORT: &str = "8083";

/// Where the pages are said to find things; here it is below a directory of the test.
const ELSEWHERE: [&str; 2] = ["/etc/", "/var/"];

/// What mosquitto's package brings along in Debian.
const MOSQUITTO_CONF: &str = "\
# Place your local configuration in /etc/mosquitto/conf.d/
#
# A full description of the configuration file is at
# /usr/share/doc/mosquitto/examples/mosquitto.conf.example

pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
";

/// What somebody types who is asked for a password.
const PASSWORD: &str = "pencil";

/// The blocks that are not run, and what they need. Each is a command that nobody looks after.
const NOT_RUN: [&str; 10] = [
    "README.md: the sources and a compiler: cargo run --release -- serve",
    "README.md: a mosquitto.conf: columba config import /etc/mosquitto/mosquitto.conf > columba.toml",
    "README.md: another broker: columba check mqtt://HOST:1883",
    "README.md: a quiet machine: cargo run --release -- bench compare",
    "docs/from-mosquitto.md: root and systemd: columba config import /etc/mosquitto/mosquitto.conf > mosquitto.toml",
    "docs/fuzzing.md: nightly Rust: just fuzz connection 3600",
    "docs/fuzzing.md: nightly Rust: for target in cold config connection decode log record round_trip topics websocket; do just fuzz $target 28800 & done; wait",
    "docs/fuzzing.md: nightly Rust: just fuzz-corpus connection",
    "docs/installing.md: Docker: docker build -f packaging/docker/Dockerfile -t columba .",
    "docs/installing.md: Docker: docker run -d --name columba -p 1883:1883 -v columba:/var/lib/columba \\",
];

/// What stands between two fences.
#[derive(Debug, Eq, PartialEq)]
struct Block {
    /// Behind the first fence: the language, and what else is said there.
    about: String,
    lines: Vec<String>,
}

/// All blocks, those in lists without their indentation.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut indent = None;
    for line in markdown.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (indent, fence) {
            (None, Some(about)) => {
                indent = Some(line.len() - line.trim_start().len());
                blocks.push(Block { about: about.to_owned(), lines: Vec::new() });
            }
            (Some(_), Some(_)) => indent = None,
            (Some(indent), None) => blocks.last_mut().unwrap().lines.push(line.get(indent..).unwrap_or_default().to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// A command and the lines that it is to print.
#[derive(Debug, Eq, PartialEq)]
struct Step {
    command: String,
    prints: Vec<String>,
}

/// The steps of all console blocks, in order.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks(markdown).into_iter().filter(|block| block.about == "console") {
        assert!(block.lines.first().is_some_and(|line| line.starts_with("$ ")), "begins with a command: {block:?}");
        for line in block.lines {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), prints: Vec::new() }),
                None => steps.last_mut().unwrap().prints.push(line),
            }
        }
    }
    steps
}

/// One terminal in which a page is typed.
struct Tour {
    port: String,
    http_port: String,
    root: TempDir,
    broker: Option<Program>,
}

impl Tour {
    fn new() -> Self {
        let free = || free_port().unwrap().to_string();
        let tour = Self { port: free(), http_port: free(), root: tempfile::tempdir().unwrap(), broker: None };
        for directory in [tour.home(), tour.root.path().join("etc/mosquitto/conf.d")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(tour.root.path().join("etc/mosquitto/mosquitto.conf"), tour.below_root(MOSQUITTO_CONF)).unwrap();
        tour
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    fn below_root(&self, text: &str) -> String {
        let root = self.root.path().display();
        ELSEWHERE.iter().fold(text.to_owned(), |text, place| text.replace(&format!(" {place}"), &format!(" {root}{place}")))
    }

    fn walk(&mut self, steps: &[Step]) {
        if !steps.iter().any(|step| step.command.starts_with("columba serve")) {
            self.serve(&Step { command: "columba serve".to_owned(), prints: Vec::new() });
        }
        for step in steps {
            self.take(step);
        }
    }

    fn take(&mut self, step: &Step) {
        let printed = if step.command.starts_with("columba serve") {
            self.serve(step)
        } else if step.command == "pkill -9 columba" {
            self.broker = None;
            Vec::new()
        } else {
            self.run(&step.command)
        };
        let printed: Vec<String> = printed.iter().map(|line| self.plain(line)).collect();
        let expected: Vec<String> = step.prints.iter().map(|line| self.plain(line)).collect();
        assert_eq!(printed, expected, "$ {}", step.command);
    }

    /// Starts the broker and reads as much as it is to print; where that is nothing, until it is up.
    fn serve(&mut self, step: &Step) -> Vec<String> {
        self.broker = None;
        let mut command = step.command.replace(&format!(":{DEFAULT_PORT}"), &format!(":{}", self.port));
        if !command.contains("--listen") {
            write!(command, " --listen localhost:{}", self.port).unwrap();
        }
        write!(command, " --http 127.0.0.1:{}", self.http_port).unwrap();
        let mut broker = Program::start(&mut self.shell(&format!("exec {command}")));
        let printed = broker.take(step.prints.len());
        if printed.is_empty() {
            broker.until("Try:");
        }
        self.broker = Some(broker);
        printed
    }

    fn run(&self, command: &str) -> Vec<String> {
        let typed = format!("exec 2>&1; echo {PASSWORD} | {{ {command}\n}}");
        let (lines, status) = Program::start(&mut self.shell(&typed)).finish();
        assert!(status.success(), "$ {command}\n{}", lines.join("\n"));
        lines
    }

    fn shell(&self, command: &str) -> Command {
        let path = format!("{}:{}", Path::new(COLUMBA).parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &self.below_root(command)])
            .env("PATH", path)
            .env("COLUMBA_URL", format!("mqtt://127.0.0.1:{}", self.port))
            .env("HOME", self.home())
            .env_remove("XDG_STATE_HOME")
            .current_dir(self.home());
        shell
    }

    /// The same text whenever, wherever and on whatever port it was printed.
    fn plain(&self, line: &str) -> String {
        let line = line.replace(&format!(" -p {}", self.port), "").replace(&self.port, DEFAULT_PORT);
        let line = line.replace(&self.http_port, DEFAULT_HTTP_PORT).replace(&self.root.path().display().to_string(), "");
        without_durations(line.trim_end())
    }
}

/// Replaces the number in front of each ` ms` or ` s` that ends a word.
fn without_durations(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut plain = String::new();
    for (at, word) in words.iter().enumerate() {
        let unit = words.get(at + 1).map(|next| next.trim_end_matches([',', ')', '.', ';']));
        let is_duration = matches!(unit, Some("ms" | "s")) && word.parse::<f64>().is_ok();
        let separator = if at == 0 { "" } else { " " };
        write!(plain, "{separator}{}", if is_duration { "N" } else { word }).unwrap();
    }
    plain
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages of the guide, by their names in the repository.
fn guide() -> Vec<String> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|page| page.unwrap().path());
    let pages = pages.filter(|page| page.extension().is_some_and(|ending| ending == "md"));
    let mut pages: Vec<String> = pages.map(|page| format!("docs/{}", page.file_name().unwrap().display())).collect();
    pages.sort();
    pages
}

#[test]
fn every_console_block_of_the_readme_prints_what_it_shows() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let steps = steps(&readme);
    assert!(steps.len() >= 5, "the tour is in the README: {steps:?}");

    Tour::new().walk(&steps);
}

#[test]
fn every_console_block_of_the_guide_prints_what_it_shows() {
    let mut walked = 0;
    for page in guide() {
        let steps = steps(&fs::read_to_string(root().join(page)).unwrap());
        if steps.is_empty() {
            continue;
        }
        Tour::new().walk(&steps);
        walked += 1;
    }
    assert!(walked >= 3, "{walked} pages have something to type");
}

#[test]
fn every_other_block_of_commands_says_what_it_needs() {
    let mut not_run = Vec::new();
    for page in iter::once("README.md".to_owned()).chain(guide()) {
        for block in blocks(&fs::read_to_string(root().join(&page)).unwrap()) {
            let first = block.lines.first().unwrap().split("    #").next().unwrap().trim_end();
            if let Some(needs) = block.about.strip_prefix("sh needs ") {
                not_run.push(format!("{page}: {needs}: {first}"));
            } else {
                let is_known = ["console", "toml", "json", "yaml", "text"].contains(&&*block.about);
                assert!(is_known, "{page}: neither run nor said why not: {block:?}");
            }
        }
    }

    assert_eq!(not_run, NOT_RUN);
}

#[test]
fn every_page_of_the_guide_is_linked_from_the_readme_and_every_link_leads_somewhere() {
    let root = root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let links: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).collect();

    for page in guide() {
        assert!(links.contains(&&*page), "README.md has no link to {page}");
    }
    for link in links {
        assert!(root.join(link).exists(), "README.md leads to {link}, which is not there");
    }
}

#[test]
fn a_block_is_read_as_commands_with_their_output() {
    let text = "```console\n$ one\nprints\n$ two\n```\n```sh needs a moon\n$ not this\n```\n1. In a list:\n\n   ```console\n   $ three\n   ```\n";

    let expected = [
        Step { command: "one".to_owned(), prints: vec!["prints".to_owned()] },
        Step { command: "two".to_owned(), prints: Vec::new() },
        Step { command: "three".to_owned(), prints: Vec::new() },
    ];
    assert_eq!(steps(text), expected);
}

#[test]
fn durations_are_not_compared() {
    assert_eq!(without_durations("2 sessions, recovered in 3 ms) and 1.5 s"), "2 sessions, recovered in N ms) and N s");
}
