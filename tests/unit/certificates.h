/* A certificate authority and one certificate for members of etcd and their clients, as a cluster
 * has them. */
#ifndef VLING_TESTS_CERTIFICATES_H
#define VLING_TESTS_CERTIFICATES_H

#include <stdio.h>
#include <stdlib.h>

struct certificates {
    char ca[96], cert[96], key[96]; /* files */
};

/* Makes them in `dir`; `names` as in subjectAltName, e.g. "IP:127.0.0.1". 0: done. */
static inline int make_certificates(const char *dir, const char *names, struct certificates *ret)
{
    char command[1024];

    snprintf(ret->ca, sizeof(ret->ca), "%s/ca.pem", dir);
    snprintf(ret->cert, sizeof(ret->cert), "%s/cert.pem", dir);
    snprintf(ret->key, sizeof(ret->key), "%s/key.pem", dir);
    snprintf(command, sizeof(command),
             "cd %s && exec 2>/dev/null && k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' "
             "&& openssl req -x509 $k -days 2 -subj /CN=ca -keyout cakey.pem -out ca.pem && "
             "openssl req $k -subj /CN=m0 -keyout key.pem -out csr.pem && "
             "echo 'subjectAltName=%s' > ext && openssl x509 -req -in csr.pem -CA ca.pem "
             "-CAkey cakey.pem -CAcreateserial -days 2 -extfile ext -out cert.pem",
             dir, names);
    return system(command);
}

#endif
