//! Network interfaces, by their names.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Bytes of the longest name (Linux, `IFNAMSIZ` without the zero at its end): the system would cut a longer one off, and take another interface.
const NAME_BYTES_MAX: usize = 15;

/// The name of a network interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface(Box<str>);

/// Not the name of a network interface.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the name of a network interface, like eth0")]
pub struct InterfaceError;

impl Interface {
    /// As the system has it.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        let is_name = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !matches!(text, "." | "..");
        let is_written_so = !text.chars().any(|c| c.is_whitespace() || c.is_control() || "/:".contains(c));
        if is_name && is_written_so { Ok(Self(text.into())) } else { Err(InterfaceError) }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_the_system_could_have() {
        for good in ["lo", "eth0", "br-lan", "wg0.7", "abcdefghijklmno"] {
            assert_eq!(good.parse::<Interface>().map(|interface| interface.to_string()), Ok(good.into()));
        }
        for bad in ["", ".", "..", "eth0 # the cellar", "eth0:1", "a/b", "abcdefghijklmnop", "eth\0"] {
            assert_eq!(bad.parse::<Interface>(), Err(InterfaceError), "{bad}");
        }
    }
}
