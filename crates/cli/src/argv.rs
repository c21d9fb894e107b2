//! What has to be done to a mosquitto command line before clap can read it.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;

use crate::property::SEPARATOR;

/// Names under which this program is the command `pub` or `sub`.
const CALLED_AS: [(&str, &str); 2] = [("mosquitto_pub", "pub"), ("mosquitto_sub", "sub")];

/// Makes `columba pub ...` of `mosquitto_pub ...`, and one argument of each `-D PACKET NAME [NAME] VALUE`.
///
/// `-D` takes three values, or four for a user property; clap knows no option whose number of values depends on one
/// of them.
pub(crate) fn prepare(args: Vec<OsString>, cli: &Command) -> Vec<OsString> {
    let args = with_command(args);
    let Some(command) = args.get(1).and_then(|name| cli.find_subcommand(name)) else {
        return args;
    };
    join_properties(args, command)
}

fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let program = args.first().map(Path::new).and_then(Path::file_stem).map(OsString::from);
    let called_as = CALLED_AS.iter().find(|(name, _)| program.as_deref().is_some_and(|program| program == *name));
    if let Some((_, command)) = called_as {
        args.insert(1, OsString::from(*command));
    }
    args
}

fn join_properties(args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut joined = Vec::with_capacity(args.len());
    let mut rest = args.into_iter();
    joined.extend(rest.by_ref().take(2));
    while let Some(arg) = rest.next() {
        if arg == "-D" || arg == "--property" {
            joined.push(one_property(&mut rest));
        } else if arg == "--" {
            joined.push(arg);
            joined.extend(rest.by_ref());
        } else {
            let value_follows = value_follows(&arg, command);
            joined.push(arg);
            if value_follows {
                joined.extend(rest.next());
            }
        }
    }
    joined
}

fn one_property(rest: &mut impl Iterator<Item = OsString>) -> OsString {
    let mut parts: Vec<OsString> = rest.take(3).collect();
    if parts.get(1).is_some_and(|name| name == "user-property") {
        parts.extend(rest.next());
    }
    let mut joined = OsString::from("--property=");
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            joined.push(SEPARATOR);
        }
        joined.push(part);
    }
    joined
}

/// Whether the next argument is the value of this one, whatever it looks like.
fn value_follows(arg: &OsString, command: &Command) -> bool {
    let Some(text) = arg.to_str() else {
        return false;
    };
    let always_takes_one = |option: &clap::Arg| {
        option.get_action().takes_values() && option.get_num_args().is_none_or(|range| range.min_values() > 0)
    };
    if let Some(long) = text.strip_prefix("--") {
        return command.get_arguments().any(|option| {
            let named =
                option.get_long() == Some(long) || option.get_all_aliases().is_some_and(|aliases| aliases.contains(&long));
            named && always_takes_one(option)
        });
    }
    let Some(cluster) = text.strip_prefix('-') else {
        return false;
    };
    // In `-vt FILTER` the last flag takes the next argument, in `-tFILTER` nothing is left to take.
    for (at, short) in cluster.char_indices() {
        let option = command.get_arguments().find(|option| option.get_short() == Some(short));
        match option {
            Some(option) if option.get_action().takes_values() => {
                return at + short.len_utf8() == cluster.len() && always_takes_one(option);
            }
            Some(_) => {}
            None => return false,
        }
    }
    false
}
