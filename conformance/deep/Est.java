// BouncyCastle's EST client, driven by bouncycastle.sh. Prints one word a step; dies at the first fault.

import java.io.FileReader;
import java.io.FileWriter;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.TrustAnchor;
import java.security.spec.ECGenParameterSpec;
import java.util.Collection;
import java.util.Set;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.CACertsResponse;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMWriter;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

public class Est {
    static String server;
    static String tls;
    static TrustAnchor root;

    /** est HOST:PORT TLS-VERSION ROOT.pem USER PASSWORD OUT.pem */
    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        server = args[0];
        tls = args[1];
        try (PEMParser pem = new PEMParser(new FileReader(args[2]))) {
            root = new TrustAnchor(new JcaX509CertificateConverter().getCertificate(
                    (X509CertificateHolder) pem.readObject()), null);
        }
        ESTService service = builder(null).build();

        CACertsResponse authorities = service.getCACerts();
        require(authorities.isTrusted(), "cacerts came over a trusted connection");
        require(authorities.getCertificateStore().getMatches(null).size() == 2, "cacerts has two certificates");
        service.getCSRAttributes();

        KeyPair first = pair();
        X509CertificateHolder certificate = enroll(service, false, request(first, "CN=ignored"), args[3], args[4]);
        System.out.println("enrolled " + certificate.getSubject());

        KeyPair second = pair();
        ESTService renewing = builder(keyManagers(first, certificate)).build();
        X509CertificateHolder renewed =
                enroll(renewing, true, request(second, certificate.getSubject().toString()), null, null);
        require(renewed.getSubject().equals(certificate.getSubject()), "the renewed certificate names the same device");
        require(!renewed.getSerialNumber().equals(certificate.getSerialNumber()), "it is another certificate");
        System.out.println("renewed " + renewed.getSubject());

        try (JcaPEMWriter pem = new JcaPEMWriter(new FileWriter(args[5]))) {
            pem.writeObject(renewed);
        }
    }

    static JsseESTServiceBuilder builder(KeyManager[] keys) throws Exception {
        JsseESTServiceBuilder builder =
                new JsseESTServiceBuilder(server, JcaJceUtils.getCertPathTrustManager(Set.of(root), null));
        builder.withTimeout(8000).withTLSVersion(tls).withFilterCipherSuites(false);
        return keys == null ? builder : builder.withKeyManagers(keys);
    }

    /** Asks, and asks the same again for as long as a person has to approve. */
    static X509CertificateHolder enroll(ESTService service, boolean again, PKCS10CertificationRequest request,
            String user, String password) throws Exception {
        var auth = user == null ? null : new JcaHttpAuthBuilder(user, password.toCharArray()).build();
        EnrollmentResponse answer = service.simpleEnroll(again, request, auth);
        for (int tries = 0; !answer.isCompleted(); tries++) {
            require(tries < 3, "an approved device is answered");
            System.out.println("waiting " + (answer.getNotBefore() - System.currentTimeMillis()) / 1000 + " s");
            System.in.read(); // until the script has approved
            answer = service.simpleEnroll(answer);
        }
        Collection<X509CertificateHolder> found = answer.getStore().getMatches(null);
        require(found.size() == 1, "there is exactly one certificate");
        return found.iterator().next();
    }

    static KeyPair pair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        return generator.generateKeyPair();
    }

    static PKCS10CertificationRequest request(KeyPair pair, String subject) throws Exception {
        ContentSigner signer = new JcaContentSignerBuilder("SHA256withECDSA").build(pair.getPrivate());
        return new JcaPKCS10CertificationRequestBuilder(new X500Name(subject), pair.getPublic()).build(signer);
    }

    static KeyManager[] keyManagers(KeyPair pair, X509CertificateHolder certificate) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        Certificate[] chain = {new JcaX509CertificateConverter().getCertificate(certificate)};
        store.setKeyEntry("device", pair.getPrivate(), new char[0], chain);
        KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        factory.init(store, new char[0]);
        return factory.getKeyManagers();
    }

    static void require(boolean holds, String sentence) {
        if (!holds) {
            throw new AssertionError("not so: " + sentence);
        }
    }
}
