//! No layer at all: TCP as it is.

use crate::{Heard, Layer, LayerError};

/// Passes everything through. Who can, asks [`Layer::is_transparent`] and spares the copy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Plain;

impl Layer for Plain {
    fn read(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<Heard, LayerError> {
        inward.extend_from_slice(wire);
        Ok(Heard::More)
    }

    fn write(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        wire.extend_from_slice(bytes);
        Ok(())
    }

    fn outgoing(&mut self, _: &mut Vec<u8>) {}

    fn has_outgoing(&self) -> bool {
        false
    }

    fn close(&mut self, _: &mut Vec<u8>) {}

    fn is_open(&self) -> bool {
        true
    }

    fn is_transparent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_pass_unchanged_both_ways() {
        let (mut inward, mut wire) = (Vec::new(), Vec::new());
        let mut layer = Plain;

        layer.read(&mut [0xC0, 0x00], &mut inward).unwrap();
        layer.write(&[0xD0, 0x00], &mut wire).unwrap();
        layer.outgoing(&mut wire);
        layer.close(&mut wire);

        assert!(layer.is_transparent() && layer.is_open() && !layer.has_outgoing());
        assert_eq!((inward, wire), (vec![0xC0, 0x00], vec![0xD0, 0x00]));
    }
}
