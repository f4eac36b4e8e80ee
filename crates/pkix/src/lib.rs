//! PKCS#10, X.509, CRL and certs-only PKCS#7: DER in, types out; types in, DER out.
