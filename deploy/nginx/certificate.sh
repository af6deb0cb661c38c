#!/bin/sh
# What the service certbot of docker-compose.acme.yml does: gets the certificate of PUBLIC_NAME, asks twice a day whether
# it is to be renewed, and puts each new one where nginx looks for it.
set -u
umask 027
again_seconds=43200
# An authority refuses names that fail too often: Let's Encrypt after five failures in an hour.
after_failure_seconds=900

say() {
  echo "corral: $*" >&2
}

# The newest certificate and its key, each file whole. nginx refuses a key of another certificate until both are there.
publish() {
  newest=/etc/letsencrypt/live/$PUBLIC_NAME
  cmp -s "$newest/fullchain.pem" /tls/fullchain.pem && return
  cp "$newest/privkey.pem" /tls/.privkey.pem && cp "$newest/fullchain.pem" /tls/.fullchain.pem &&
    chmod 640 /tls/.privkey.pem /tls/.fullchain.pem &&
    mv /tls/.privkey.pem /tls/privkey.pem && mv /tls/.fullchain.pem /tls/fullchain.pem &&
    say "nginx gets a new certificate for $PUBLIC_NAME"
}

ask() {
  if [ -n "$ACME_EMAIL" ]; then
    set -- --email "$ACME_EMAIL"
  else
    set -- --register-unsafely-without-email
  fi
  certbot certonly --non-interactive --agree-tos --keep-until-expiring --no-eff-email "$@" --server "$ACME_SERVER" \
    --webroot --webroot-path /challenge --domain "$PUBLIC_NAME" --cert-name "$PUBLIC_NAME" \
    --config-dir /etc/letsencrypt --work-dir /tmp/work --logs-dir /tmp/logs
}

# A shell that is told to end does so only between commands: `wait` is one that ends at once.
trap 'exit 0' TERM INT
while :; do
  if ask && publish; then
    pause=$again_seconds
  else
    pause=$after_failure_seconds
    say "WARN no certificate; trying again in $((pause / 60)) minutes"
  fi
  sleep "$pause" &
  wait $!
done
