//! The three levels (§4.3).

use crate::error::Malformed;

/// Quality of Service.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum QoS {
    /// May be lost, is never repeated (§4.3.1).
    #[default]
    AtMostOnce = 0,
    /// Arrives, perhaps repeated (§4.3.2).
    AtLeastOnce = 1,
    /// Arrives once (§4.3.3).
    ExactlyOnce = 2,
}

impl QoS {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce];
}

impl TryFrom<u8> for QoS {
    type Error = Malformed;

    #[inline]
    fn try_from(bits: u8) -> Result<Self, Malformed> {
        Ok(match bits {
            0 => Self::AtMostOnce,
            1 => Self::AtLeastOnce,
            2 => Self::ExactlyOnce,
            // Never "QoS 0 after all": the peer meant something we cannot honour [MQTT-3.3.1-4].
            _ => return Err(Malformed::ReservedQoS),
        })
    }
}

impl From<QoS> for u8 {
    #[inline]
    fn from(qos: QoS) -> Self {
        qos as Self
    }
}
