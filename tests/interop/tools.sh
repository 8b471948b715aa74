#!/usr/bin/env bash
# Debian's packages that the interop tests need, where they are missing: a browser, R with httr2, DCMTK, Orthanc.
set -euo pipefail
missing=()
command -v chromium > /dev/null || missing+=(chromium)
Rscript -e 'library(httr2); library(jsonlite)' > /dev/null 2>&1 || missing+=(r-base-core r-cran-httr2 r-cran-jsonlite)
command -v storescu > /dev/null || missing+=(dcmtk)
command -v mosquitto > /dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing+=(orthanc orthanc-dicomweb)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update
    apt-get install -y --no-install-recommends "${missing[@]}"
fi
