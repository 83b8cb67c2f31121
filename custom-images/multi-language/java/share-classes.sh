#!/bin/sh
# Makes the archive of shared classes anew, with what the compiler and small programs use: a compiler that loads and
# checks them itself takes a third longer.
set -eu
home=/usr/lib/jvm/default-java
cd "$(mktemp -d)"
cp /opt/java/Warm.java .
"$home/bin/java" -Xshare:off -XX:DumpLoadedClassList=source Warm.java
"$home/bin/javac" -J-Xshare:off -J-XX:DumpLoadedClassList=compiler Warm.java
"$home/bin/java" -Xshare:off -XX:DumpLoadedClassList=program Warm
cat "$home/lib/classlist" source compiler program | grep -v Warm | awk '!seen[$0]++' >classes
"$home/bin/java" -XX:+UseG1GC -Xshare:dump -XX:SharedClassListFile=classes >log 2>&1 || { cat log; exit 1; }
rm -r "$PWD"
