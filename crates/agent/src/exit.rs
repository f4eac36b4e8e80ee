//! Exit codes of `imprint agent`, for scripts. Numbers are never reused.

/// What the agent's commands end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// PROVISIONED, or nothing is wrong.
    Good = 0,
    /// The agent could not work: state directory, keys, journal.
    Failed = 1,
    // 2 is a wrong command line.
    /// The device rests in QUARANTINE.
    Quarantined = 10,
    /// The device is on its way; try again, or let it go on.
    NotYet = 11,
    /// The root file can't be used.
    Root = 20,
    /// The server's name has no address.
    Dns = 21,
    /// No route to the server's network.
    Route = 22,
    /// Nobody accepts at the address and port.
    Tcp = 23,
    /// A proxy is set that this agent does not use.
    Proxy = 24,
    /// Something else than TLS answers, or the two don't agree.
    Tls = 25,
    /// The server is not from the pinned root: another server, or somebody in between.
    Pin = 26,
    /// The server's certificate is for another name.
    Name = 27,
    /// The server's certificate or a clock is wrong about the time.
    Clock = 28,
    /// The server answers, and is no registrar of ours.
    Http = 29,
}

impl Exit {
    /// The number for the operating system.
    pub const fn code(self) -> u8 {
        self as u8
    }
}
