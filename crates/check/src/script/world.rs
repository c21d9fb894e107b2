//! Where the broker is: the little that a script needs of the outside.

use std::time::Duration;

/// One connection of a script.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LineNo(pub u32);

/// How the broker ends before it is started again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It is asked to, and says good-bye.
    Stopped,
    /// Without a warning.
    Killed,
}

/// What came on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// Bytes, appended to what was given.
    Bytes,
    /// The broker has closed the connection.
    Closed,
    /// Nothing for as long as was asked.
    Nothing,
}

/// What a script cannot do here, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unable(pub String);

/// A broker and the way to it. Time is the world's own: it passes while something is awaited.
pub trait World: Send {
    /// Opens a connection.
    fn dial(&mut self) -> Result<LineNo, Unable>;
    /// Sends bytes. A connection that the broker has closed swallows them.
    fn send(&mut self, line: LineNo, bytes: &[u8]);
    /// Waits for something on this connection, so long at most.
    fn receive(&mut self, line: LineNo, within: Duration, into: &mut Vec<u8>) -> Arrival;
    /// Closes the connection without a word.
    fn cut(&mut self, line: LineNo);
    /// Lets time pass.
    fn pass(&mut self, time: Duration);
    /// Time since the world began.
    fn now(&self) -> Duration;
    /// How long an answer may take that the standard wants.
    fn patience(&self) -> Duration;
    /// How long nothing must come until it is said that nothing comes.
    fn silence(&self) -> Duration;
    /// Ends the broker and starts it again; all connections are gone.
    fn restart(&mut self, ending: Ending) -> Result<(), Unable>;
}
