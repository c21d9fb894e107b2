//! Bytes: borrowing from a read buffer, writing into an out-buffer, finding frames (§1.5, §2.1).

mod frame;
mod reader;
mod varint;
mod writer;

pub use frame::{FRAME_LEN_MAX, FrameError, Split, frame_len, split};
pub use reader::Reader;
pub use varint::{VARINT_MAX, varint_len};
pub use writer::Writer;

pub(crate) use varint::Varint;
