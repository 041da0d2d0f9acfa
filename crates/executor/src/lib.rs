//! The executor side of Reconvene: wire types, a sans-io agent that survives its broker, and an async driver.
