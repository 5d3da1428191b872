# Sourced by bin/{hadoop,hdfs,yarn,mapred}. Starts one Hadoop class in the foreground, with the command line, the environment and the Java
# options of the scripts in Apache's release archive (hadoop-functions.sh), which Maven Central does not carry.
# shellcheck shell=bash

launch_die() {
  printf '%s: %s\n' "${LAUNCH_TOOL}" "$1" >&2
  exit 1
}

# Prints the class of a subcommand; the table is that of the release's bin/hdfs, bin/yarn, bin/mapred and bin/hadoop.
launch_class() {
  local hdfs=org.apache.hadoop.hdfs yarn=org.apache.hadoop.yarn
  case "$1:$2" in
    hdfs:namenode) echo "${hdfs}.server.namenode.NameNode" ;;
    hdfs:datanode) echo "${hdfs}.server.datanode.DataNode" ;;
    hdfs:secondarynamenode) echo "${hdfs}.server.namenode.SecondaryNameNode" ;;
    hdfs:journalnode) echo "${hdfs}.qjournal.server.JournalNode" ;;
    hdfs:zkfc) echo "${hdfs}.tools.DFSZKFailoverController" ;;
    hdfs:balancer) echo "${hdfs}.server.balancer.Balancer" ;;
    hdfs:mover) echo "${hdfs}.server.mover.Mover" ;;
    hdfs:dfs | hadoop:fs | hadoop:dfs) echo org.apache.hadoop.fs.FsShell ;;
    hdfs:dfsadmin) echo "${hdfs}.tools.DFSAdmin" ;;
    hdfs:haadmin) echo "${hdfs}.tools.DFSHAAdmin" ;;
    hdfs:fsck) echo "${hdfs}.tools.DFSck" ;;
    hdfs:getconf) echo "${hdfs}.tools.GetConf" ;;
    hdfs:groups) echo "${hdfs}.tools.GetGroups" ;;
    hdfs:ec) echo "${hdfs}.tools.ECAdmin" ;;
    hdfs:storagepolicies) echo "${hdfs}.tools.StoragePolicyAdmin" ;;
    hdfs:oiv) echo "${hdfs}.tools.offlineImageViewer.OfflineImageViewerPB" ;;
    hdfs:oev) echo "${hdfs}.tools.offlineEditsViewer.OfflineEditsViewer" ;;
    yarn:resourcemanager) echo "${yarn}.server.resourcemanager.ResourceManager" ;;
    yarn:nodemanager) echo "${yarn}.server.nodemanager.NodeManager" ;;
    yarn:proxyserver) echo "${yarn}.server.webproxy.WebAppProxyServer" ;;
    yarn:timelineserver) echo "${yarn}.server.applicationhistoryservice.ApplicationHistoryServer" ;;
    yarn:rmadmin) echo "${yarn}.client.cli.RMAdminCLI" ;;
    yarn:node) echo "${yarn}.client.cli.NodeCLI" ;;
    yarn:logs) echo "${yarn}.client.cli.LogsCLI" ;;
    yarn:queue) echo "${yarn}.client.cli.QueueCLI" ;;
    yarn:top) echo "${yarn}.client.cli.TopCLI" ;;
    yarn:cluster) echo "${yarn}.client.cli.ClusterCLI" ;;
    yarn:app | yarn:application | yarn:applicationattempt | yarn:container) echo "${yarn}.client.cli.ApplicationCLI" ;;
    mapred:historyserver) echo org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer ;;
    mapred:job) echo org.apache.hadoop.mapred.JobClient ;;
    mapred:queue) echo org.apache.hadoop.mapred.JobQueueClient ;;
    mapred:hsadmin) echo org.apache.hadoop.mapreduce.v2.hs.client.HSAdmin ;;
    hadoop:distcp) echo org.apache.hadoop.tools.DistCp ;;
    hadoop:checknative) echo org.apache.hadoop.util.NativeLibraryChecker ;;
    hadoop:conftest) echo org.apache.hadoop.util.ConfTest ;;
    hadoop:credential) echo org.apache.hadoop.security.alias.CredentialShell ;;
    hadoop:jar | yarn:jar) echo org.apache.hadoop.util.RunJar ;;
    *:version) echo org.apache.hadoop.util.VersionInfo ;;
    *:classpath) echo org.apache.hadoop.util.Classpath ;;
    *:*.*) echo "$2" ;; # a class by its full name, as the release's scripts allow
    *) return 1 ;;
  esac
}

# Java 17 and later: what hadoop_finalize_jpms_opts adds (HADOOP-19310), in its order.
launch_jpms() {
  local package
  LAUNCH_OPTS+=(-XX:+IgnoreUnrecognizedVMOptions)
  for package in java.io java.lang java.lang.reflect java.math java.net java.text java.util java.util.concurrent java.util.zip \
    sun.security.util sun.security.x509; do
    LAUNCH_OPTS+=("--add-opens=java.base/${package}=ALL-UNNAMED")
  done
}

launch_main() {
  LAUNCH_TOOL=$1
  shift
  HADOOP_HOME=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
  while [[ $# -gt 0 ]]; do
    case $1 in
      --config) [[ $# -gt 1 ]] || launch_die "--config wants a folder"; HADOOP_CONF_DIR=$2; shift 2 ;;
      --loglevel) [[ $# -gt 1 ]] || launch_die "--loglevel wants a level"; HADOOP_LOGLEVEL=$2; shift 2 ;;
      --daemon) launch_die "--daemon is not supported here: the service manager runs the daemons in the foreground" ;;
      *) break ;;
    esac
  done
  HADOOP_CONF_DIR=${HADOOP_CONF_DIR:-${HADOOP_HOME}/etc/hadoop}
  [[ -d ${HADOOP_CONF_DIR} ]] || launch_die "the configuration folder ${HADOOP_CONF_DIR} does not exist"
  # shellcheck source=/dev/null
  [[ -r ${HADOOP_CONF_DIR}/hadoop-env.sh ]] && . "${HADOOP_CONF_DIR}/hadoop-env.sh"
  [[ $# -gt 0 ]] || launch_die "a subcommand is wanted: ${LAUNCH_TOOL} [--config DIR] SUBCOMMAND [ARGUMENT...]"
  local subcommand=$1 class java share=${HADOOP_HOME}/share/hadoop
  shift
  class=$(launch_class "${LAUNCH_TOOL}" "${subcommand}") || launch_die "${subcommand} is not a subcommand"
  java=${JAVA_HOME:+${JAVA_HOME}/bin/}java
  command -v "${java}" >/dev/null || launch_die "no Java found (JAVA_HOME=${JAVA_HOME:-unset}); install a Java 17 or newer runtime"

  export HADOOP_HOME HADOOP_CONF_DIR
  export HADOOP_COMMON_HOME=${HADOOP_HOME} HADOOP_HDFS_HOME=${HADOOP_HOME} HADOOP_YARN_HOME=${HADOOP_HOME} HADOOP_MAPRED_HOME=${HADOOP_HOME}
  # glibc's arenas, one a thread, otherwise inflate the resident size (HADOOP-7154).
  export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-4}
  # Java itself expands the asterisks.
  CLASSPATH="${HADOOP_CONF_DIR}:${share}/common/lib/*:${share}/common/*:${share}/hdfs:${share}/hdfs/lib/*:${share}/hdfs/*"
  CLASSPATH+=":${share}/mapreduce/lib/*:${share}/mapreduce/*:${share}/yarn/lib/*:${share}/yarn/*"
  [[ ${subcommand} == distcp ]] && CLASSPATH+=":${share}/tools/lib/*"
  [[ -n ${HADOOP_CLASSPATH:-} ]] && CLASSPATH+=:${HADOOP_CLASSPATH}
  export CLASSPATH

  # HDFS_NAMENODE_OPTS and its like for a daemon or a tool, HADOOP_CLIENT_OPTS for what a user runs.
  local own=${LAUNCH_TOOL}_${subcommand}_OPTS extra
  own=${own^^}
  own=${own//[^A-Z0-9_]/_}
  case ${subcommand} in
    namenode | datanode | secondarynamenode | journalnode | zkfc | resourcemanager | nodemanager | proxyserver | timelineserver | historyserver)
      extra=${!own:-} ;;
    *) extra="${HADOOP_CLIENT_OPTS:-} ${!own:-}" ;;
  esac
  LAUNCH_OPTS=("-Dproc_${subcommand}" -Djava.net.preferIPv4Stack=true)
  launch_jpms
  [[ -n ${HADOOP_HEAPSIZE_MAX:-} ]] && LAUNCH_OPTS+=("-Xmx${HADOOP_HEAPSIZE_MAX}")
  [[ -d ${HADOOP_HOME}/lib/native ]] && LAUNCH_OPTS+=("-Djava.library.path=${HADOOP_HOME}/lib/native")
  local logs=${HADOOP_LOG_DIR:-${HADOOP_HOME}/logs} logger=${HADOOP_ROOT_LOGGER:-${HADOOP_LOGLEVEL:-INFO},console}
  LAUNCH_OPTS+=(
    "-Dhadoop.log.dir=${logs}" "-Dhadoop.log.file=${HADOOP_LOGFILE:-hadoop.log}" "-Dhadoop.home.dir=${HADOOP_HOME}"
    "-Dhadoop.id.str=${HADOOP_IDENT_STRING:-${USER:-$(id -un)}}" "-Dhadoop.root.logger=${logger}"
    "-Dhadoop.policy.file=${HADOOP_POLICYFILE:-hadoop-policy.xml}" "-Dhadoop.security.logger=${HADOOP_SECURITY_LOGGER:-INFO,NullAppender}"
  )
  [[ ${LAUNCH_TOOL} == yarn ]] && LAUNCH_OPTS+=("-Dyarn.log.dir=${logs}" "-Dyarn.home.dir=${HADOOP_HOME}" "-Dyarn.root.logger=${logger}")
  # shellcheck disable=SC2086 # these two hold several options each
  exec "${java}" "${LAUNCH_OPTS[@]}" ${HADOOP_OPTS:-} ${extra} "${class}" "$@"
}
