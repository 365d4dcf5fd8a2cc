"""An authority that signs certificates, as a company has one for its own servers."""

import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {name}")])
        own = self.signed(self.subject, self.key, [(x509.BasicConstraints(ca=True, path_length=0), True)], (-DAY, DAY))
        self.file = directory / f"{name}.pem"
        """What a client has to trust."""
        self.file.write_bytes(own)

    def signed(self, subject, key, extensions, valid):
        now = datetime.datetime.now(datetime.timezone.utc)
        made = x509.CertificateBuilder(issuer_name=self.subject, subject_name=subject, public_key=key.public_key())
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now + valid[0]).not_valid_after(now + valid[1])
        for extension, critical in extensions:
            made = made.add_extension(extension, critical=critical)
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def itself(self, host="127.0.0.1"):
        """The file of an authority that is a server, as `openssl req -x509` makes one."""
        extensions = [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False),
        ]
        own = self.signed(self.subject, self.key, extensions, (-DAY, DAY))
        return self.kept("itself", own, self.key)

    def kept(self, name, certificate, key):
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self.directory / f"{self.name}-{name}.pem"
        file.write_bytes(certificate + private)
        return file

    def server(self, name, host="127.0.0.1", valid=(-DAY, DAY)):
        """The file of a server's certificate and key; `host` is an address, or a name."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            host = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            host = x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        extensions = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([host]), False),
            (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False),
        ]
        return self.kept(name, self.signed(subject, key, extensions, valid), key)


def speaking(certificate):
    """What a server speaks TLS with."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made
