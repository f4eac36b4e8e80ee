//! A registrar in a few lines: healthy, rude if asked, and watching for what must never happen.

/// One certificate that the server has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    pub serial: u8,
    pub key: u8,
    /// The certificate that this one succeeds; 0 for a first enrollment.
    pub predecessor: u8,
    pub used: bool,
    pub revoked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Open,
    Leased(u8),
    Spent(u8),
}

/// What the network does to one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Fine,
    RequestLost,
    ReplyLost,
    Pending,
    Turn,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub token: Token,
    pub tokens: u8,
    pub certificates: Vec<Certificate>,
    pub registered: bool,
    /// What happens to the next exchanges; afterwards all is well.
    pub fates: Vec<Fate>,
    /// Nothing gets through.
    pub down: bool,
}

impl Server {
    pub fn new(fates: Vec<Fate>) -> Self {
        Self {
            token: Token::Open,
            tokens: 1,
            certificates: Vec::new(),
            registered: false,
            fates,
            down: false,
        }
    }

    pub fn fate(&mut self) -> Fate {
        if self.down {
            return Fate::RequestLost;
        }
        self.fates.pop().unwrap_or(Fate::Fine)
    }

    pub fn certificate(&self, serial: u8) -> Option<&Certificate> {
        self.certificates
            .iter()
            .find(|certificate| certificate.serial == serial)
    }

    /// The certificates by which a device is a member: used and not revoked.
    pub fn live(&self) -> Vec<Certificate> {
        self.certificates
            .iter()
            .copied()
            .filter(|it| it.used && !it.revoked)
            .collect()
    }

    /// Asks with the token, for `key`. A second key at a token is what a thief would show.
    pub fn simpleenroll(&mut self, key: u8) -> Result<u8, String> {
        match self.token {
            Token::Open => {
                self.token = Token::Leased(key);
                Ok(self.sign(key, 0))
            }
            Token::Leased(holder) | Token::Spent(holder) if holder == key => {
                let same = self.certificates.iter().rev().find(|it| it.key == key);
                same.map(|it| it.serial)
                    .ok_or_else(|| "a leased token without certificate".into())
            }
            Token::Leased(holder) | Token::Spent(holder) => {
                Err(format!("key {key} at the token that key {holder} holds"))
            }
        }
    }

    /// Asks with the certificate `serial`, for `key`: one unused successor, another key replaces it.
    pub fn simplereenroll(&mut self, serial: u8, key: u8) -> Result<u8, String> {
        match self.certificate(serial) {
            Some(it) if !it.revoked => {}
            _ => {
                return Err(format!(
                    "renewal with certificate {serial}, which is no good"
                ));
            }
        }
        let known = self
            .certificates
            .iter()
            .find(|it| it.predecessor == serial && !it.revoked);
        if let Some(known) = known.copied() {
            if known.key == key {
                return Ok(known.serial);
            }
            return Err(format!(
                "key {key} for a renewal that key {} has begun",
                known.key
            ));
        }
        Ok(self.sign(key, serial))
    }

    /// A handshake with the certificate `serial` by whoever holds `key`.
    pub fn verify(&mut self, serial: u8, key: u8) -> Result<(), String> {
        let Some(it) = self.certificates.iter_mut().find(|it| it.serial == serial) else {
            return Err(format!("certificate {serial} was never signed"));
        };
        if it.key != key || it.revoked {
            return Err(format!("certificate {serial} with key {key}: {it:?}"));
        }
        it.used = true;
        let predecessor = it.predecessor;
        if predecessor == 0 {
            self.token = Token::Spent(key);
            // A device that was reset by its owner comes back: its former identity ends.
            for other in &mut self.certificates {
                other.revoked |= other.serial < serial;
            }
        }
        for other in &mut self.certificates {
            other.revoked |= other.serial == predecessor;
        }
        Ok(())
    }

    fn sign(&mut self, key: u8, predecessor: u8) -> u8 {
        let serial = u8::try_from(self.certificates.len() + 1).expect("few certificates");
        let (used, revoked) = (false, false);
        self.certificates.push(Certificate {
            serial,
            key,
            predecessor,
            used,
            revoked,
        });
        serial
    }
}
