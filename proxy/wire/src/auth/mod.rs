//! Password proofs and verifiers, both directions, for both protocols.
