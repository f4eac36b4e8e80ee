//! The doors by which a product takes in newcomers.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! doors {
    ($($(#[$doc:meta])* $variant:ident $word:literal;)*) => {
        /// A door onto the road, as products name it in `doors`.
        ///
        /// Only newcomers are asked for theirs. A device that is in renews and verifies by whatever
        /// listener it reaches: a door that shuts behind it must not cost it its identity.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Door { $($(#[$doc])* #[serde(rename = $word)] $variant,)* }

        impl Door {
            /// Every door.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its word in the fleet file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

doors! {
    /// EST with a token (RFC 7030).
    Est "est";
    /// A claim certificate, over MQTT.
    Claim "claim";
    /// An entry, over the device API of Azure's DPS (HTTPS and MQTT).
    Dps "dps";
    /// The first connection with a registered CA's certificate.
    JustInTime "just-in-time";
}

impl Door {
    /// The door of this word. Where a request came in says it in
    /// [`RequestOrigin::door`](crate::ledger::RequestOrigin::door).
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|door| door.as_str() == word)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
