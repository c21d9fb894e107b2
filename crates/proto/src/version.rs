//! The three versions, and the only place that knows where they differ.

/// A version of MQTT.
///
/// Nobody compares versions: code asks one of the questions below, so that each difference has a name and one home.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1, level 4.
    V311,
    /// MQTT 5.0, level 5.
    V5,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The protocol level in CONNECT (§3.1.2.2).
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name in CONNECT (§3.1.2.1).
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// As people name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }

    /// The version that a CONNECT names, if it is one of ours. The name is part of the answer: level 3 under the name of
    /// its successors is nobody's version.
    pub(crate) fn from_name_and_level(name: &str, level: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.protocol_name() == name && version.level() == level)
    }

    /// Whose CONNACK to refuse a level with that is none of ours.
    pub(crate) const fn nearest_to_level(level: u8) -> Self {
        if level & 0x7f < Self::V5.level() { Self::V311 } else { Self::V5 }
    }

    /// Do packets carry properties, and acknowledgements a reason code (§2.2.2, §2.4)?
    #[inline]
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }

    /// May an unacknowledged packet be repeated by a timer while the connection lives?
    ///
    /// 3.1 asks for it, 3.1.1 allows it, 5 forbids it [MQTT-4.4.0-1]. On resuming a session all versions demand it.
    pub const fn may_resend(self) -> bool {
        matches!(self, Self::V31 | Self::V311)
    }

    /// Can the server say goodbye with a DISCONNECT of its own (§3.14)?
    pub const fn server_may_disconnect(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Does an UNSUBACK have one reason code per filter (§3.11.3)?
    pub const fn unsuback_has_reasons(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Does the byte after a filter in SUBSCRIBE carry more than the QoS (§3.8.3.1)?
    pub const fn has_subscription_options(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Is there an AUTH packet (§3.15)?
    pub const fn has_auth(self) -> bool {
        matches!(self, Self::V5)
    }

    /// May a CONNECT have a password and no user name (§3.1.2.9)? The older versions refuse it (3.1.1 `[MQTT-3.1.2-22]`).
    pub const fn allows_password_alone(self) -> bool {
        matches!(self, Self::V5)
    }

    /// May the user name be absent although its flag is set? In 3.1 the remaining length goes before the flag.
    pub const fn allows_missing_user_name(self) -> bool {
        matches!(self, Self::V31)
    }

    /// Is bit 0 of the connect flags checked to be 0 [MQTT-3.1.2-3]? 3.1 calls it unused.
    pub const fn checks_reserved_connect_flag(self) -> bool {
        matches!(self, Self::V311 | Self::V5)
    }

    /// Will QoS and will retain are zero where there is no will [MQTT-3.1.2-11] [MQTT-3.1.2-13]; MQTT 3.1 disregards them then.
    pub const fn checks_will_flags_without_will(self) -> bool {
        matches!(self, Self::V311 | Self::V5)
    }

    /// May the highest bit of the level say that a bridge is calling? Only brokers that speak 3.x among themselves do it.
    pub const fn has_bridge_bit(self) -> bool {
        matches!(self, Self::V31 | Self::V311)
    }

    /// Can DUP mark a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE? Only 3.1 has it; later the bit is reserved.
    pub const fn has_dup_on_requests(self) -> bool {
        matches!(self, Self::V31)
    }

    /// May a PUBLISH have an empty topic name and an alias in its place (§3.3.2.3.4)?
    pub const fn has_topic_aliases(self) -> bool {
        matches!(self, Self::V5)
    }

    /// May a client leave its identifier empty (§3.1.3.1)? Not in 3.1.
    pub const fn allows_empty_client_id(self) -> bool {
        matches!(self, Self::V311 | Self::V5)
    }

    /// Must an empty client identifier come with a clean start (3.1.1 `[MQTT-3.1.3-7]`)? In 5 it need not.
    pub const fn empty_client_id_needs_clean_start(self) -> bool {
        matches!(self, Self::V31 | Self::V311)
    }

    /// Does the server tell the client an identifier that it made up [MQTT-3.1.3-7]?
    pub const fn tells_assigned_client_id(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Does CONNACK say whether a session was resumed (§3.2.2.1.1)? In 3.1 the byte is reserved.
    pub const fn has_session_present(self) -> bool {
        matches!(self, Self::V311 | Self::V5)
    }

    /// Does a refused CONNECT get a CONNACK even if it was malformed (§4.13)? Before 5 it gets none (3.1.1 `[MQTT-3.1.4-1]`).
    pub const fn answers_malformed_connect(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Does a DISCONNECT always remove the will (3.1.1 §3.14.4), or may its reason keep it (§3.14.2.1)?
    pub const fn disconnect_may_keep_will(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Does a takeover or an expired keep-alive have words, or does the server just close?
    pub const fn explains_closing(self) -> bool {
        self.server_may_disconnect()
    }

    /// For how many seconds the session outlives its connection: 0 ends with it, `u32::MAX` never ends (§3.1.2.11.2).
    ///
    /// In 3.x the clean session flag says both how to begin and how to end; 5 has a property for the second.
    pub const fn session_expiry(self, clean_start: bool, property: Option<u32>) -> u32 {
        match (self, property) {
            (Self::V5, Some(seconds)) => seconds,
            (Self::V5, None) => 0,
            (Self::V31 | Self::V311, _) if clean_start => 0,
            (Self::V31 | Self::V311, _) => u32::MAX,
        }
    }
}
