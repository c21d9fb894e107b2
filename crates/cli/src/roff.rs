//! Pages of the guide as manual pages: as much of Markdown as the guide has, written as `man(7)` wants it.

/// A manual page that is a page of the guide, or a part of one.
#[derive(Debug)]
pub(crate) struct Page {
    /// What it is called, like `columba.toml`.
    pub(crate) name: &'static str,
    /// 5 for files, 7 for everything else.
    pub(crate) section: u8,
    /// What it is about, in a few words.
    pub(crate) about: &'static str,
    /// Without its title.
    pub(crate) markdown: &'static str,
}

impl Page {
    /// The file that it stands in.
    pub(crate) fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// As `man` reads it. `known` says more of the first cell of a table's row.
    pub(crate) fn roff(&self, known: impl Fn(&str) -> Option<String>) -> String {
        let Self { name, section, about, markdown } = self;
        let title = escaped(&name.to_uppercase());
        let mut page = vec![format!(".TH {title} {section}"), ".SH NAME".into()];
        page.push(format!("{} \\- {}", escaped(name), escaped(about)));
        page.push(".SH DESCRIPTION".into());
        let mut lines = markdown.lines().peekable();
        while let Some(line) = lines.next() {
            let text = line.trim_start();
            if text.starts_with("```") {
                page.push(".PP\n.nf".into());
                page.extend(
                    lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).map(|line| guarded(&escaped(line))),
                );
                page.push(".fi".into());
            } else if let Some(heading) = heading(text) {
                page.push(format!(".SH {}", inline(heading)));
            } else if text.starts_with('|') {
                let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
                if !is_head && !text.starts_with("|---") {
                    page.extend(row(text, &known));
                }
            } else if let Some(item) = text.strip_prefix("- ") {
                page.push(format!(".IP \\(bu 2\n{}", guarded(&inline(item))));
            } else if text.is_empty() {
                page.push(".PP".into());
            } else {
                page.push(guarded(&inline(text)));
            }
        }
        page.join("\n") + "\n"
    }
}

/// What is behind the `#`s of a heading.
fn heading(line: &str) -> Option<&str> {
    line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
}

/// The first cell stands out, the last one says what it is; what stands between them is said before that.
fn row(line: &str, known: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [first, between @ .., last] = &cells[..] else { return Vec::new() };
    let mut lines = vec![".TP".to_owned(), guarded(&inline(first))];
    let takes = known(first.trim_matches('`')).map(|takes| escaped(&takes));
    let preset = between.iter().filter(|cell| !cell.is_empty()).map(|cell| format!("default: {}", inline(cell)));
    let before: Vec<String> = takes.into_iter().chain(preset).collect();
    if !before.is_empty() {
        lines.push(guarded(&before.join("; ")));
        lines.push(".br".into());
    }
    lines.push(guarded(&inline(last)));
    lines
}

/// Text in which code and strong words are bold, and links are their words.
fn inline(text: &str) -> String {
    let (mut out, mut rest, mut is_bold) = (String::new(), text, false);
    let toggle = |is_bold: &mut bool| {
        *is_bold = !*is_bold;
        if *is_bold { "\\fB" } else { "\\fR" }
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('`') {
            let (code, behind) = after.split_once('`').unwrap_or((after, ""));
            out += "\\fB";
            out += &escaped(code);
            out += if is_bold { "" } else { "\\fR" };
            rest = behind;
        } else if let Some(after) = rest.strip_prefix("**") {
            out += toggle(&mut is_bold);
            rest = after;
        } else if let Some((words, behind)) = rest.strip_prefix('[').and_then(link) {
            out += &inline(words);
            rest = behind;
        } else {
            let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '`' | '*' | '[')).map_or(rest.len(), |(at, _)| at);
            out += &escaped(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out
}

/// The words of `words](target)`, and what is behind it.
fn link(text: &str) -> Option<(&str, &str)> {
    let (words, behind) = text.split_once("](")?;
    let is_one = !words.contains([']', '[']);
    is_one.then(|| behind.split_once(')')).flatten().map(|(_, behind)| (words, behind))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga")
}

/// A point at the beginning of a line would be a request.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff(markdown: &'static str) -> String {
        let page = Page { name: "columba.toml", section: 5, about: "what is read", markdown };
        page.roff(|key| (key == "a.b").then(|| "a number".to_owned()))
    }

    #[test]
    fn a_page_has_its_head_and_what_markdown_says() {
        let page = roff("Read `a-b` and **so [this](x.md) on**.\n\n## Then\n\n- one\n\n```toml\n.a = 'b'\\n\n```\n");

        let head = ".TH COLUMBA.TOML 5\n.SH NAME\ncolumba.toml \\- what is read\n.SH DESCRIPTION\n";
        let body = "Read \\fBa\\-b\\fR and \\fBso this on\\fR.\n.PP\n.SH Then\n.PP\n.IP \\(bu 2\none\n.PP\n.PP\n.nf\n\\&.a = \\(aqb\\(aq\\en\n.fi\n";
        assert_eq!(page, format!("{head}{body}"));
    }

    #[test]
    fn a_row_of_a_table_is_a_paragraph_with_its_key() {
        let page = roff("| key | default | |\n|---|---|---|\n| `a.b` | 7 | what it is |\n| `c` | | [more](y.md) |\n");

        assert!(page.ends_with(".TP\n\\fBa.b\\fR\na number; default: 7\n.br\nwhat it is\n.TP\n\\fBc\\fR\nmore\n"), "{page}");
    }
}
