//! Bytes on their way to one client.

use alloc::vec::Vec;

use crate::limits::{POOLED_BUFFER_BYTES_MAX, POOLED_BUFFERS_MAX};

/// A queue of bytes: the brain appends frames, the shell writes from the front. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub struct OutBuffer {
    bytes: Vec<u8>,
    written: usize,
}

impl OutBuffer {
    /// What is still to be written.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// How much is still to be written.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` pending bytes were written.
    ///
    /// # Panics
    /// Where fewer were pending.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "no more than was pending");
        self.written += count;
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written >= POOLED_BUFFER_BYTES_MAX && self.written * 2 >= self.bytes.len() {
            // Keeps a connection that is never quite empty from growing for ever.
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Where frames are appended; takes a buffer from the pool where it has none.
    pub(crate) fn append(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.0.pop().unwrap_or_default();
        }
        &mut self.bytes
    }

    /// Gives the memory back where nothing is pending.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            pool.put(core::mem::take(&mut self.bytes));
            self.written = 0;
        }
    }
}

/// Empty buffers for reuse; bounded in number and size, so it shrinks after a burst.
#[derive(Debug, Default)]
pub(crate) struct Pool(Vec<Vec<u8>>);

impl Pool {
    fn put(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < POOLED_BUFFERS_MAX && buffer.capacity() <= POOLED_BUFFER_BYTES_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_an_empty_buffer_gives_its_memory_back() {
        let mut pool = Pool::default();
        let mut out = OutBuffer::default();
        out.append(&mut pool).extend_from_slice(b"abc");

        out.consume(2);
        assert_eq!(out.pending(), b"c");
        out.consume(1);
        out.release(&mut pool);

        assert!(out.is_empty());
        assert_eq!(out.bytes.capacity(), 0);
        assert_eq!(pool.0.len(), 1);
    }
}
