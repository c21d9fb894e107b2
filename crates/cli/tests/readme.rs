//! Every `console` block of the README is run, and must print what stands there.
//!
//! A line that begins with `$ ` is a command, the lines below it are what it prints. `columba serve` runs until the end or until
//! `pkill -9 columba`, on a free port instead of the default one and with a home of its own; durations may differ.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use columba_check::load::free_port;
use columba_check::program::Program;
use tempfile::TempDir;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
const DEFAULT_PORT: &str = "1883";
const DEFAULT_HTTP_PORT: &str = "8083";

/// A command and the lines that it is to print.
#[derive(Debug, Eq, PartialEq)]
struct Step {
    command: String,
    prints: Vec<String>,
}

/// The steps of all console blocks, in order.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { command: command.to_owned(), prints: Vec::new() });
        } else if inside {
            steps.last_mut().expect("a block begins with a command").prints.push(line.to_owned());
        }
    }
    steps
}

/// One terminal in which the README is typed.
struct Tour {
    port: String,
    http_port: String,
    home: TempDir,
    broker: Option<Program>,
}

impl Tour {
    fn new() -> Self {
        let free = || free_port().unwrap().to_string();
        Self { port: free(), http_port: free(), home: tempfile::tempdir().unwrap(), broker: None }
    }

    fn walk(&mut self, step: &Step) {
        let printed = match step.command.split(' ').collect::<Vec<_>>()[..] {
            ["columba", "serve", ..] => self.serve(step),
            ["pkill", "-9", "columba"] => {
                self.broker = None;
                Vec::new()
            }
            _ => self.run(&step.command),
        };
        let printed: Vec<String> = printed.iter().map(|line| self.plain(line)).collect();
        let expected: Vec<String> = step.prints.iter().map(|line| self.plain(line)).collect();
        assert_eq!(printed, expected, "$ {}", step.command);
    }

    /// Starts the broker and reads as much as it is to print.
    fn serve(&mut self, step: &Step) -> Vec<String> {
        let mut command = Command::new(COLUMBA);
        command.args(step.command.split(' ').skip(1));
        command.args(["--listen", &format!("localhost:{}", self.port), "--http", &format!("127.0.0.1:{}", self.http_port)]);
        let mut broker = Program::start(command.env("HOME", self.home.path()).env_remove("XDG_STATE_HOME"));
        let printed = broker.take(step.prints.len());
        self.broker = Some(broker);
        printed
    }

    fn run(&self, command: &str) -> Vec<String> {
        let path = format!("{}:{}", Path::new(COLUMBA).parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec 2>&1; {command}")])
            .env("PATH", path)
            .env("COLUMBA_URL", format!("mqtt://127.0.0.1:{}", self.port))
            .env("HOME", self.home.path());
        let (lines, status) = Program::start(&mut shell).finish();
        assert!(status.success(), "$ {command}\n{}", lines.join("\n"));
        lines
    }

    /// The same text whenever and on whatever port it was printed.
    fn plain(&self, line: &str) -> String {
        let line = line.replace(&format!(" -p {}", self.port), "").replace(&self.port, DEFAULT_PORT);
        let line = line.replace(&self.http_port, DEFAULT_HTTP_PORT);
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

#[test]
fn every_console_block_of_the_readme_prints_what_it_shows() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let mut tour = Tour::new();

    let steps = steps(&readme);
    assert!(steps.len() >= 5, "the tour is in the README: {steps:?}");
    for step in &steps {
        tour.walk(step);
    }
}

#[test]
fn every_page_of_the_guide_is_linked_from_the_readme_and_every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let links: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).collect();

    for page in std::fs::read_dir(root.join("docs")).unwrap() {
        let page = page.unwrap().path();
        if page.extension().is_some_and(|ending| ending == "md") {
            let link = format!("docs/{}", page.file_name().unwrap().display());
            assert!(links.contains(&&*link), "README.md has no link to {link}");
        }
    }
    for link in links {
        assert!(root.join(link).exists(), "README.md leads to {link}, which is not there");
    }
}

#[test]
fn a_block_is_read_as_commands_with_their_output() {
    let text = "```console\n$ one\nprints\n$ two\n```\n```\n$ not this\n```\n";

    let expected = [
        Step { command: "one".to_owned(), prints: vec!["prints".to_owned()] },
        Step { command: "two".to_owned(), prints: Vec::new() },
    ];
    assert_eq!(steps(text), expected);
}

#[test]
fn durations_are_not_compared() {
    assert_eq!(without_durations("2 sessions, recovered in 3 ms) and 1.5 s"), "2 sessions, recovered in N ms) and N s");
}
