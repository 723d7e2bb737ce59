"""Replace issuing CAs and roots on the CA's folder or over the network: one desk, two ways."""
