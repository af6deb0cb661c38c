#!/bin/sh
# Starts nginx of the production stack: checks what it needs, writes /tmp/servers.conf, and takes over new certificates
# while it runs. `start.sh check` only checks; a refusal is one sentence and exit code 64.
#
# It reads PUBLIC_NAME, PUBLIC_TLS, HTTPS_PORT, CORRAL_LOGIN (a file of login/) and CORRAL_ACME (on: certbot brings the
# certificate). docs/configuration.md explains the first three.
set -eu

here=/etc/nginx/corral
tls=/etc/nginx/tls
name=${PUBLIC_NAME:-}
login=${CORRAL_LOGIN:-none}
look_seconds=5
soon_seconds=1209600 # two weeks

refuse() {
  echo "$*" >&2
  exit 64
}

say() {
  echo "corral: $*" >&2
}

check_settings() {
  case ${PUBLIC_TLS:-on} in
    on | off) ;;
    *) refuse "PUBLIC_TLS must be off, or empty for HTTPS; it is $PUBLIC_TLS." ;;
  esac
  case $name in
    *[!a-z0-9.-]*)
      refuse "PUBLIC_NAME must be a name alone, as in chat.example.com: in lower case, without https://, port or path; it is $name." ;;
    "")
      [ "${PUBLIC_TLS:-on}" = off ] ||
        refuse "PUBLIC_NAME is empty: set it to the name under which people open the page, as in chat.example.com." ;;
  esac
  if [ "${PUBLIC_TLS:-on}" = off ] && [ "${CORRAL_ACME:-off}" = on ]; then
    refuse "docker-compose.acme.yml gets a certificate, and PUBLIC_TLS=off serves none: leave one of them out."
  fi
  [ -r "$here/login/$login.conf" ] || refuse "There is no deploy/nginx/login/$login.conf."
  if [ "$login" = password ] && ! [ -r /run/secrets/htpasswd ]; then
    refuse "nginx cannot read deploy/secrets/htpasswd, the names and passwords: it runs as user 101 (chmod 444 deploy/secrets/htpasswd)."
  fi
}

# What nginx is to serve: plain, waiting (for the first certificate) or tls.
servers() {
  if [ "${PUBLIC_TLS:-on}" = off ]; then
    echo plain
  elif [ "${CORRAL_ACME:-off}" = on ] && ! [ -e "$tls/fullchain.pem" ]; then
    echo waiting
  else
    echo tls
  fi
}

check_files() {
  for file in fullchain.pem privkey.pem; do
    [ -e "$tls/$file" ] ||
      refuse "There is no certificate for $name: put fullchain.pem and privkey.pem into deploy/tls, or add deploy/docker-compose.acme.yml, which gets them, or set PUBLIC_TLS=off to serve plain HTTP. deploy/tls/$file is missing."
    [ -r "$tls/$file" ] ||
      refuse "nginx cannot read deploy/tls/$file: it runs as user 101 (chown 101 deploy/tls/$file)."
  done
}

# Says what browsers will not like. The image may have no openssl; then nothing is said.
warn_of_certificate() {
  command -v openssl >/dev/null || return 0
  if ! openssl x509 -in "$tls/fullchain.pem" -noout -checkend 0 >/dev/null; then
    say "WARN the certificate has expired"
  elif ! openssl x509 -in "$tls/fullchain.pem" -noout -checkend "$soon_seconds" >/dev/null; then
    say "WARN the certificate expires within two weeks: $(openssl x509 -in "$tls/fullchain.pem" -noout -enddate)"
  fi
  case $name in
    *[!0-9.]*) kind=-checkhost ;;
    *) kind=-checkip ;;
  esac
  case $(openssl x509 -in "$tls/fullchain.pem" -noout "$kind" "$name") in
    *"does match"*) ;;
    *) say "WARN the certificate is not for $name" ;;
  esac
}

# `http2 on` came with nginx 1.25.1, which complains about the older form.
listen() {
  version=$(nginx -v 2>&1)
  version=${version##*/}
  version=${version%% *}
  if [ "$(printf '%s\n' 1.25.1 "$version" | sort -V | head -n 1)" = 1.25.1 ]; then
    echo "listen 8443 ssl default_server; http2 on;"
  else
    echo "listen 8443 ssl http2 default_server;"
  fi
}

write_servers() {
  port=${HTTPS_PORT:-443}
  port=${port##*:}
  [ "$port" = 443 ] && port='' || port=:$port
  staple=
  if [ -r "$tls/ocsp.der" ]; then
    staple="ssl_stapling on; ssl_stapling_file $tls/ocsp.der;"
  fi
  sed -e "s|@NAME@|$name|g" -e "s|@PORT@|$port|g" -e "s|@LISTEN@|$(listen)|" -e "s|@STAPLE@|$staple|" \
    "$here/$(servers).conf" >/tmp/servers.conf
  cp "$here/login/$login.conf" /tmp/login.conf
}

# Whether nginx accepts its configuration; what it complains about otherwise.
complaint() {
  nginx -e /dev/stderr -c "$here/nginx.conf" -t -q 2>&1
}

# Changes when one of the files does.
mark() {
  cat "$tls/fullchain.pem" "$tls/privkey.pem" "$tls/ocsp.der" 2>/dev/null | cksum
}

# Makes nginx read new files. Its connections stay with the old processes until they end, sockets too.
watch() {
  seen=$(mark)
  looks=0
  while sleep "$look_seconds"; do
    looks=$((looks + 1))
    # Once a day.
    if [ $((looks * look_seconds % 86400)) = 0 ] && [ -r "$tls/fullchain.pem" ]; then warn_of_certificate; fi
    now=$(mark)
    [ "$now" != "$seen" ] || continue
    seen=$now
    for file in fullchain.pem privkey.pem; do
      if ! [ -e "$tls/$file" ]; then
        say "WARN deploy/tls/$file is gone; nginx keeps the certificate it has"
        continue 2
      elif ! [ -r "$tls/$file" ]; then
        say "WARN nginx cannot read deploy/tls/$file, and keeps the certificate it has: it runs as user 101 (chmod 444 deploy/tls/$file)"
        continue 2
      fi
    done
    write_servers
    if text=$(complaint); then
      kill -HUP "$(cat /tmp/nginx.pid)"
      say "a new certificate is served"
      warn_of_certificate
    else
      say "WARN the new certificate is not usable, nginx keeps the one it has: $text"
    fi
  done
}

check_settings
[ "$(servers)" != tls ] || check_files
write_servers
text=$(complaint) || refuse "nginx cannot start with this certificate and these settings: $text"
[ "$(servers)" != tls ] || warn_of_certificate
[ "${1:-}" != check ] || exit 0
[ "$(servers)" = plain ] || watch &
exec nginx -e /dev/stderr -c "$here/nginx.conf" -g "daemon off;"
