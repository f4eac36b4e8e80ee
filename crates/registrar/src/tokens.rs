//! Minting tokens. What happens to a token afterwards is on the road and in the ledger.

use imprint_attest::Token;
use imprint_identity::{HardwareId, UnixTime};
use zeroize::Zeroizing;

use crate::devices::OperatorError;
use crate::enroll::{Chance, Registrar};
use crate::ledger::{
    FactsQuery, Generation, KeyFingerprint, Ledger, NewToken, TokenHash, TokenRecord,
};
use crate::signer::Signer;

/// An order for tokens.
#[derive(Debug, Clone, Default)]
pub struct TokenOrder {
    /// For which product.
    pub product: String,
    /// One token for each of these; empty: `count` tokens for any hardware.
    pub hardware: Vec<HardwareId>,
    /// How many, when no hardware is named. Each serves one device.
    pub count: u32,
    /// Seconds until a lease may no longer begin; `None`: the product's rule.
    pub expires_in_seconds: Option<i64>,
    /// Whether they sleep until armed; `None`: the product's rule.
    pub dormant: Option<bool>,
}

/// A token as it leaves the server, once.
pub struct Minted {
    /// Its public name.
    pub id: String,
    /// Its text: the only time that anybody sees it.
    pub text: Zeroizing<String>,
    /// The hardware that it is for, if it is for one.
    pub hardware: Option<HardwareId>,
    /// Until when a lease may begin.
    pub expires_at: UnixTime,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Mints tokens, all or none.
    pub async fn token_new(
        &self,
        order: TokenOrder,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Vec<Minted>, OperatorError> {
        let products = self.ledger().product_list().await?;
        let product = products
            .iter()
            .find(|product| product.name == order.product)
            .ok_or_else(|| OperatorError::NoProduct {
                name: order.product.clone(),
            })?;
        let hardware: Vec<Option<HardwareId>> = match order.hardware.len() {
            0 if product.token.bound => return Err(OperatorError::TokensAreBound),
            0 => vec![None; order.count.min(MOST_TOKENS) as usize],
            _ => order.hardware.into_iter().map(Some).collect(),
        };
        if hardware.is_empty() || hardware.len() > MOST_TOKENS as usize {
            return Err(OperatorError::TokenCount { most: MOST_TOKENS });
        }
        let mut bound = hardware.iter().flatten();
        if let Some(unfit) = bound.find(|hardware| !product.fits(hardware)) {
            return Err(OperatorError::HardwareUnfit {
                hardware: Box::new(unfit.clone()),
                product: product.name.clone(),
                pattern: product.serial_pattern.clone().unwrap_or_default(),
            });
        }
        let by_rule = i64::from(product.token.lifetime_days) * 86_400;
        let expires_at = now.plus(order.expires_in_seconds.unwrap_or(by_rule));
        let dormant = order.dormant.unwrap_or(product.token.dormant);
        let mut minted = Vec::with_capacity(hardware.len());
        let mut kept = Vec::with_capacity(hardware.len());
        for bound in hardware {
            let (mut secret, mut name) = (Zeroizing::new([0; 16]), [0; 6]);
            chance(&mut *secret);
            chance(&mut name);
            let token = Token::from_entropy(*secret);
            let hash = TokenHash(self.signer().token_mac(token.secret()).await?);
            let id = format!("t-{}", name.map(|byte| format!("{byte:02x}")).concat());
            kept.push(NewToken {
                id: id.clone(),
                hash,
                product: product.name.clone(),
                bound: bound.clone(),
                dormant,
                expires_at,
            });
            minted.push(Minted {
                id,
                text: Zeroizing::new(token.text()),
                hardware: bound,
                expires_at,
            });
        }
        self.ledger().token_mint(kept, actor, now).await?;
        Ok(minted)
    }

    /// The token with this text; `None` for one that is not on record, and for a text that is none.
    pub async fn token_by_text(&self, text: &str) -> Result<Option<TokenRecord>, OperatorError> {
        let Ok(token) = Token::parse(text) else {
            return Ok(None);
        };
        let hash = TokenHash(self.signer().token_mac(token.secret()).await?);
        let query = FactsQuery {
            product: None,
            token: Some(hash),
            asserted: None,
            shown: None,
            // Nobody asks for a certificate, so no key of anybody's.
            key: KeyFingerprint([0; 32]),
            generation: Generation::Token(hash),
        };
        let facts = self.ledger().enrollment_facts(&query, UnixTime(0)).await?;
        Ok(facts.token)
    }
}

/// Tokens minted in one transaction, at most.
const MOST_TOKENS: u32 = 100_000;
