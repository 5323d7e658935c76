//! Ids of what a file holds, from its content.
//!
//! Invariant: none is zero, and equal contents have equal ids.

use sha2::{Digest, Sha256};
use tracer_core::ids::{ExecutionId, StepId};

/// Returns the first 16 bytes of a file's digest as an id.
pub(super) fn execution_id(digest: &[u8; 32]) -> ExecutionId {
    let bits = digest.first_chunk().copied().map_or(0, u128::from_be_bytes);
    ExecutionId::from_u128(bits).unwrap_or_else(|| ExecutionId::from_bytes([1; 16]))
}

/// Returns the first 8 bytes of SHA-256 over the file's digest and the task's id.
pub(super) fn step_id(digest: &[u8; 32], task: &str) -> StepId {
    let hash = Sha256::new().chain_update(digest).chain_update(task).finalize();
    let bits = hash.first_chunk().copied().map_or(0, u64::from_be_bytes);
    StepId::from_u64(bits).unwrap_or_else(|| StepId::from_stored(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_derive_from_the_content_and_are_never_zero() {
        let (ones, zeros) = ([1; 32], [0; 32]);
        assert_eq!(execution_id(&ones).to_string(), "wf_01010101010101010101010101010101");
        assert_eq!(execution_id(&zeros).to_string(), "wf_01010101010101010101010101010101");
        assert_eq!(step_id(&ones, "a"), step_id(&ones, "a"));
        assert_ne!(step_id(&ones, "a"), step_id(&ones, "b"));
        assert_ne!(step_id(&ones, "a"), step_id(&zeros, "a"));
    }
}
