//! Versioned metadata records with siblings: the planner, the MetadataStore trait and an in-memory store.
